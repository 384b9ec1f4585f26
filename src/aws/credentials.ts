// Where credentials come from. The order is that of the aws command, not quite that of the SDK for JavaScript:
// keys in the environment win over AWS_PROFILE, and a profile that says how to get credentials is the only
// source then, so that its failure is reported and not the last link's of a chain.
import { fromEnv, fromIni, fromNodeProviderChain } from '@aws-sdk/credential-providers';
import type { AwsProfile } from './profile.ts';

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
  /** To be given to an SDK client, which caches what it returns and asks again before it expires. */
  provider: ReturnType<typeof fromEnv>;
}

export function findCredentials({ name, explicit, values }: AwsProfile): CredentialSource {
  if (!explicit && process.env.AWS_ACCESS_KEY_ID && process.env.AWS_SECRET_ACCESS_KEY) {
    return { profile: undefined, provider: fromEnv() };
  }
  const isSource = credentialKeys.some((key) => values[key]);
  return { profile: name, provider: isSource ? fromIni({ profile: name }) : fromNodeProviderChain({ profile: name }) };
}
