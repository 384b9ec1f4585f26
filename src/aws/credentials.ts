// Where credentials come from. The order is that of the aws command, not quite that of the SDK for JavaScript:
// keys in the environment win over AWS_PROFILE, and a profile that says how to get credentials is the only
// source then, so that its failure is reported and not the last link's of a chain.
// Loads the SDK's providers (some 100 ms); what needs none of them is in fixed-credentials.ts.
import { fromEnv, fromIni, fromNodeProviderChain } from '@aws-sdk/credential-providers';
import { adviseAwsError } from './advice.ts';
import { hasEnvironmentKeys } from './fixed-credentials.ts';
import type { AwsProfile } from './profile.ts';
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

/** @param region for messages */
export function findCredentials({ name, explicit, values }: AwsProfile, region: string): CredentialSource {
  const isInEnvironment = !explicit && hasEnvironmentKeys();
  const isSource = credentialKeys.some((key) => values[key]);
  const profile = isInEnvironment ? undefined : name;
  const provider = isInEnvironment
    ? fromEnv()
    : isSource
      ? fromIni({ profile: name })
      : fromNodeProviderChain({ profile: name });
  return {
    profile,
    provide: async () => {
      try {
        return await provider();
      } catch (error) {
        throw adviseAwsError(error, { service: 'ssm', operation: 'credentials', region, profile });
      }
    },
  };
}
