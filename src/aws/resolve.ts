// Finds out the AWS settings of this process: profile, region, credentials, endpoints. Loads the SDK's credential
// providers (some 100 ms), so it runs where the settings are: in a short-lived child, or in a proxy without daemon.
import { homedir } from 'node:os';
import { resolve } from 'node:path';
import { parseKnownFiles } from '@smithy/core/config';
import { adviseAwsError } from './advice.ts';
import type { WantedSettings } from './caller.ts';
import { findCredentials } from './credentials.ts';
import { findEndpoint, findProfile, findRegion, findSwitch } from './profile.ts';
import { type Resolution, type ServiceId, serviceIds } from './resolution.ts';
import type { Credentials } from './ssm-api.ts';

export interface ResolvedHere {
  resolution: Resolution;
  /** Asks the same source again. @throws AwsError */
  refresh(): Promise<Credentials>;
}

/** Without HOME and passwd entry (a container with an id of its own) the SDK would fail for `~/.aws`; login(1) takes `/`. */
function ensureHome(): void {
  try {
    homedir();
  } catch {
    process.env.HOME = '/';
  }
}

/** @throws ConfigError `no-region`, `profile-unknown`, `bad-endpoint`; AwsError for credentials */
export async function resolveAws(wanted: WantedSettings): Promise<ResolvedHere> {
  ensureHome();
  const profile = await findProfile(wanted.profile);
  const region = findRegion(wanted.region, profile);
  const { provider, profile: credentialSource } = findCredentials(profile);
  const refresh = async (): Promise<Credentials> => {
    try {
      return await provider();
    } catch (error) {
      throw adviseAwsError(error, { service: 'ssm', operation: 'credentials', region, profile: credentialSource });
    }
  };
  const endpoints: Partial<Record<ServiceId, string>> = {};
  for (const id of serviceIds) {
    const url = findEndpoint(id, profile);
    if (url !== undefined) endpoints[id] = url;
  }
  const { env } = process;
  const caBundle = env.AWS_CA_BUNDLE || profile.values.ca_bundle || undefined;
  return {
    refresh,
    resolution: {
      profile: profile.name,
      region,
      credentials: await refresh(),
      credentialSource,
      asksProgram: credentialSource !== undefined && (await asksProgram(credentialSource)),
      endpoints,
      fips: findSwitch('fips', profile),
      dualstack: findSwitch('dualstack', profile),
      caBundle: caBundle && resolve(caBundle),
      extraCa: env.NODE_EXTRA_CA_CERTS && resolve(env.NODE_EXTRA_CA_CERTS),
      proxy: {
        https: env.HTTPS_PROXY || env.https_proxy || undefined,
        no: env.NO_PROXY || env.no_proxy || undefined,
      },
    },
  };
}

/** The profile, or one that it takes its first credentials from. */
async function asksProgram(name: string): Promise<boolean> {
  const profiles = await parseKnownFiles({});
  const seen = new Set<string>();
  for (
    let next: string | undefined = name;
    next !== undefined && !seen.has(next);
    next = profiles[next]?.source_profile
  ) {
    if (profiles[next]?.credential_process) return true;
    seen.add(next);
  }
  return false;
}
