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

/** The provider to give to an SDK client, which caches what it returns and asks again before it expires. */
export function credentialProvider(profile: AwsProfile) {
  if (!profile.explicit && process.env.AWS_ACCESS_KEY_ID && process.env.AWS_SECRET_ACCESS_KEY) return fromEnv();
  if (credentialKeys.some((key) => profile.values[key])) return fromIni({ profile: profile.name });
  return fromNodeProviderChain({ profile: profile.name });
}
