// Which profile, region and endpoint hold, as AWS tools find them: what was said explicitly, then the environment,
// then the shared files. Reads the process's environment, as the SDK itself does.
import { parseKnownFiles } from '@smithy/core/config';
import { ConfigError } from '../errors.ts';
import { nearest } from '../nearest.ts';
import type { ServiceId } from './resolution.ts';

export interface AwsProfile {
  /** The section of the shared files that holds; it exists unless it is `default`. */
  name: string;
  /** Said explicitly (a host's suffix): wins over keys in the environment, as `--profile` does with AWS tools. */
  explicit: boolean;
  /** What the shared files say under that name. */
  values: Section;
  /** What the `services` section says that the profile refers to. */
  services: Section;
}

type Section = Record<string, string | undefined>;

/** @throws ConfigError `profile-unknown` */
export async function findProfile(explicit: string | undefined): Promise<AwsProfile> {
  const profiles = await parseKnownFiles({});
  const fromEnv = process.env.AWS_PROFILE || process.env.AWS_DEFAULT_PROFILE;
  const wanted = explicit ?? fromEnv;
  if (wanted === undefined) return { name: 'default', explicit: false, ...sections('default', profiles) };
  const name = explicit === undefined ? wanted : (matchName(wanted, Object.keys(profiles)) ?? wanted);
  if (profiles[name] === undefined && name !== 'default') throw unknownProfile(name, Object.keys(profiles));
  return { name, explicit: explicit !== undefined, ...sections(name, profiles) };
}

function sections(name: string, files: Record<string, Section>): Pick<AwsProfile, 'values' | 'services'> {
  const values = files[name] ?? {};
  return { values, services: files[`services.${values.services}`] ?? {} };
}

/** A profile and those behind it, by source_profile. */
export async function profileChain(name: string): Promise<{ name: string; values: Section }[]> {
  const profiles = await parseKnownFiles({});
  const chain: { name: string; values: Section }[] = [];
  for (let next: string | undefined = name; next !== undefined && !chain.some((known) => known.name === next); ) {
    const values: Section = profiles[next] ?? {};
    chain.push({ name: next, values });
    next = values.source_profile;
  }
  return chain;
}

/** ssh lower-cases the host name before it puts it in for `%h`, so a suffix may only match in lower case. */
function matchName(wanted: string, names: string[]): string | undefined {
  if (names.includes(wanted)) return wanted;
  const alike = names.filter((name) => name.toLowerCase() === wanted.toLowerCase());
  return alike.length === 1 ? alike[0] : undefined;
}

function unknownProfile(name: string, names: string[]): ConfigError {
  const near = nearest(name, names);
  const meant = near === undefined ? '' : `did you mean ${near}? `;
  return new ConfigError('profile-unknown', `AWS profile ${name} is not in the AWS configuration files`, {
    hint: `${meant}aws configure list-profiles shows what is there`,
  });
}

/** @throws ConfigError `no-region` */
export function findRegion(explicit: string | undefined, profile: AwsProfile): string {
  const region = explicit ?? (process.env.AWS_REGION || process.env.AWS_DEFAULT_REGION || profile.values.region);
  if (region !== undefined && /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(region)) return region;
  if (region !== undefined) throw new ConfigError('no-region', `${JSON.stringify(region)} is not an AWS region`);
  throw new ConfigError('no-region', 'no AWS region is set', {
    hint: 'name it in the host (i-….eu-west-1), in AWS_REGION, or with aws configure set region',
  });
}

/**
 * Where a service is called, if not where AWS has it (AWS SDKs and Tools Reference Guide, "Service-specific endpoints").
 * The SDK's own search knows AWS_PROFILE only, and so would take another profile's endpoint for one named explicitly.
 * @throws ConfigError `bad-endpoint`
 */
export function findEndpoint(service: ServiceId, { values, services }: AwsProfile): string | undefined {
  const ignored = process.env.AWS_IGNORE_CONFIGURED_ENDPOINT_URLS || values.ignore_configured_endpoint_urls;
  if (ignored?.toLowerCase() === 'true') return undefined;
  const variable = `AWS_ENDPOINT_URL_${service.toUpperCase()}`;
  const { AWS_ENDPOINT_URL: ofAll } = process.env;
  const url = process.env[variable] || ofAll || services[`${service}.endpoint_url`] || values.endpoint_url;
  if (url === undefined || /^https?:$/.test(URL.parse(url)?.protocol ?? '')) return url;
  throw new ConfigError('bad-endpoint', `${JSON.stringify(url)} is set as AWS endpoint and is not a URL`, {
    hint: `see ${variable}, AWS_ENDPOINT_URL and endpoint_url of the profile`,
  });
}

/** AWS_USE_FIPS_ENDPOINT, `use_fips_endpoint`, and the same for dual-stack. */
export function findSwitch(name: 'fips' | 'dualstack', { values }: AwsProfile): boolean {
  const value = process.env[`AWS_USE_${name.toUpperCase()}_ENDPOINT`] || values[`use_${name}_endpoint`];
  return value?.toLowerCase() === 'true';
}
