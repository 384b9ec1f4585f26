// Credentials that stand in the environment or in a profile as they are. They are what the SDK's providers would give
// (credentials.ts; a test compares), without the 100 ms that loading those takes. Pure but for process.env.
import type { AwsProfile } from './profile.ts';
import type { Credentials } from './ssm-api.ts';

/** Keys of a profile by which credentials come from elsewhere, or from a place that decides over its own keys. */
const sourceKeys = [
  'role_arn',
  'source_profile',
  'credential_source',
  'credential_process',
  'sso_session',
  'sso_start_url',
  'web_identity_token_file',
  'login_session',
];

export interface FixedCredentials {
  /** Undefined for keys in the environment. */
  profile: string | undefined;
  credentials: Credentials;
}

/** Undefined where anybody has to be asked, or where it is not plain which keys hold. */
export function fixedCredentials({ name, explicit, values }: AwsProfile): FixedCredentials | undefined {
  if (!explicit && hasEnvironmentKeys()) return { profile: undefined, credentials: fromEnvironment() };
  const { aws_access_key_id: accessKeyId, aws_secret_access_key: secretAccessKey } = values;
  if (!accessKeyId || !secretAccessKey || sourceKeys.some((key) => values[key])) return undefined;
  const sessionToken = values.aws_session_token;
  return { profile: name, credentials: { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }) } };
}

/** They win over a profile that the environment names, as with the aws command, though not with the SDK for JavaScript. */
export function hasEnvironmentKeys(): boolean {
  return Boolean(process.env.AWS_ACCESS_KEY_ID && process.env.AWS_SECRET_ACCESS_KEY);
}

function fromEnvironment(): Credentials {
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_CREDENTIAL_EXPIRATION } = process.env;
  return {
    accessKeyId: AWS_ACCESS_KEY_ID!,
    secretAccessKey: AWS_SECRET_ACCESS_KEY!,
    ...(AWS_SESSION_TOKEN && { sessionToken: AWS_SESSION_TOKEN }),
    ...(AWS_CREDENTIAL_EXPIRATION && { expiration: new Date(AWS_CREDENTIAL_EXPIRATION) }),
  };
}
