// Where credentials come from. The order is that of the aws command, not quite that of the SDK for JavaScript:
// keys in the environment win over AWS_PROFILE, and a profile that says how to get credentials is the only
// source then, so that its failure is reported and not the last link's of a chain.
// Loads the SDK's providers (some 100 ms); what needs none of them is in fixed-credentials.ts.
import { fromEnv, fromIni, fromNodeProviderChain } from '@aws-sdk/credential-providers';
import { adviseAwsError } from './advice.ts';
import { hasEnvironmentKeys } from './fixed-credentials.ts';
import { type AwsProfile, profileChain } from './profile.ts';
import type { Credentials } from './ssm-api.ts';

/** Keys of a profile, one of which must be there if it says how to get credentials. */
const credentialKeys = [
  'aws_access_key_id',
  'role_arn',
  'source_profile',
  'credential_source',
  'credential_process',
  'sso_session',
  'sso_start_url',
  'web_identity_token_file',
  'login_session',
];

export interface CredentialSource {
  /** Undefined for keys in the environment. */
  profile: string | undefined;
  /** Asks for them anew. @throws AwsError */
  provide(): Promise<Credentials>;
}

/** Gets the code of an MFA device, named by its serial number or ARN. @throws KeyholeError `mfa-needed` */
export type MfaCode = (serial: string) => Promise<string>;

/**
 * @param region for messages
 * @param mfaCode without it a role that wants a code is an error
 */
export function findCredentials(
  { name, explicit, values }: AwsProfile,
  region: string,
  mfaCode?: MfaCode,
): CredentialSource {
  const isInEnvironment = !explicit && hasEnvironmentKeys();
  const isSource = credentialKeys.some((key) => values[key]);
  const profile = isInEnvironment ? undefined : name;
  const init = { profile: name, ...(mfaCode && { mfaCodeProvider: mfaCode }) };
  const provider = isInEnvironment ? fromEnv() : isSource ? fromIni(init) : fromNodeProviderChain(init);
  return {
    profile,
    provide: async () => {
      try {
        return await provider();
      } catch (error) {
        const login = profile === undefined ? undefined : await loginProfile(profile);
        throw adviseAwsError(error, { service: 'sts', operation: 'credentials', region, profile, login });
      }
    },
  };
}

/** The profile that somebody logs in with: the one named, or one that it takes its first credentials from. */
async function loginProfile(name: string): Promise<string> {
  const keys = ['sso_session', 'sso_start_url', 'login_session', 'credential_process'];
  return (await profileChain(name)).find(({ values }) => keys.some((key) => values[key]))?.name ?? name;
}
