// Finds out the AWS settings of this process: profile, region, credentials, endpoints. It runs where the settings are: in
// whoever asks for a tunnel as long as everything stands in the environment and the shared files, else, since the SDK's
// credential providers are large, in a short-lived child, or in a proxy without daemon.
import { homedir } from 'node:os';
import { resolve } from 'node:path';
import type { WantedSettings } from './caller.ts';
import type { MfaCode } from './credentials.ts';
import { fixedCredentials } from './fixed-credentials.ts';
import { type AwsProfile, findEndpoint, findProfile, findRegion, findSwitch, profileChain } from './profile.ts';
import { type Resolution, type ServiceId, serviceIds } from './resolution.ts';
import type { Credentials } from './ssm-api.ts';

export interface ResolvedHere {
  resolution: Resolution;
  /** Asks the same source again. @throws AwsError */
  refresh(): Promise<Credentials>;
}

/**
 * As resolveAws, or undefined where credentials have to be asked for. Asks nobody and changes nothing.
 * @throws ConfigError as resolveAws
 */
export async function resolveFixed(wanted: WantedSettings): Promise<Resolution | undefined> {
  if (!hasHome()) return undefined;
  const profile = await findProfile(wanted.profile);
  const region = findRegion(wanted.region, profile);
  const fixed = fixedCredentials(profile);
  if (fixed === undefined) return undefined;
  const { credentials, profile: credentialSource } = fixed;
  return { ...settingsOf(profile, region), credentials, credentialSource, asksProgram: false };
}

/** @throws ConfigError `no-region`, `profile-unknown`, `bad-endpoint`; AwsError for credentials */
export async function resolveAws(wanted: WantedSettings, mfaCode?: MfaCode): Promise<ResolvedHere> {
  // Without HOME and passwd entry (a container with an id of its own) the SDK would fail for `~/.aws`; login(1) takes `/`.
  if (!hasHome()) process.env.HOME = '/';
  const fixed = await resolveFixed(wanted);
  if (fixed !== undefined) return { resolution: fixed, refresh: async () => fixed.credentials };
  const profile = await findProfile(wanted.profile);
  const region = findRegion(wanted.region, profile);
  const { findCredentials } = await import('./credentials.ts');
  const { profile: credentialSource, provide } = findCredentials(profile, region, mfaCode);
  const resolution = {
    ...settingsOf(profile, region),
    credentials: await provide(),
    credentialSource,
    asksProgram: credentialSource !== undefined && (await asksProgram(credentialSource)),
  };
  return { resolution, refresh: provide };
}

function hasHome(): boolean {
  try {
    homedir();
    return true;
  } catch {
    return false;
  }
}

/** Everything but the credentials. */
function settingsOf(
  profile: AwsProfile,
  region: string,
): Omit<Resolution, 'credentials' | 'credentialSource' | 'asksProgram'> {
  const endpoints: Partial<Record<ServiceId, string>> = {};
  for (const id of serviceIds) {
    const url = findEndpoint(id, profile);
    if (url !== undefined) endpoints[id] = url;
  }
  const { env } = process;
  const caBundle = env.AWS_CA_BUNDLE || profile.values.ca_bundle || undefined;
  return {
    profile: profile.name,
    region,
    endpoints,
    fips: findSwitch('fips', profile),
    dualstack: findSwitch('dualstack', profile),
    caBundle: caBundle && resolve(caBundle),
    extraCa: env.NODE_EXTRA_CA_CERTS && resolve(env.NODE_EXTRA_CA_CERTS),
    proxy: {
      https: env.HTTPS_PROXY || env.https_proxy || undefined,
      no: env.NO_PROXY || env.no_proxy || undefined,
    },
  };
}

/** The profile, or one that it takes its first credentials from. */
async function asksProgram(name: string): Promise<boolean> {
  return (await profileChain(name)).some(({ values }) => values.credential_process);
}
