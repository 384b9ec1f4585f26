// The AWS settings of one caller as values: what a short-lived child finds out in the caller's surroundings, and all that
// the daemon ever knows of them. Its text form is that of `credential_process` with one more member, so that the child
// could be anybody's (AWS SDKs and Tools Reference Guide, "Process credential provider").
import { ProtocolError } from '../errors.ts';
import type { Credentials } from './ssm-api.ts';

export interface Resolution {
  profile: string;
  region: string;
  credentials: Credentials;
  /** For messages: the profile that the credentials come from; undefined for keys in the environment. */
  credentialSource: string | undefined;
  /** Whether a program that the profile names (`credential_process`) gave the credentials. */
  asksProgram: boolean;
  /** Endpoints that the settings name in place of AWS's own, by service id. */
  endpoints: Partial<Record<ServiceId, string>>;
  fips: boolean;
  dualstack: boolean;
  /** Absolute path of a file with certificate authorities (AWS_CA_BUNDLE). */
  caBundle: string | undefined;
  /** Path of a file with further ones (NODE_EXTRA_CA_CERTS). */
  extraCa: string | undefined;
  proxy: ProxySettings;
}

/** As in endpoint settings: AWS_ENDPOINT_URL_SSM, `ssm.endpoint_url`. */
export type ServiceId = 'ssm' | 'ec2' | 'ec2_instance_connect' | 'sts';
export const serviceIds: readonly ServiceId[] = ['ssm', 'ec2', 'ec2_instance_connect', 'sts'];

/** HTTPS_PROXY and NO_PROXY of the caller. */
export interface ProxySettings {
  https: string | undefined;
  no: string | undefined;
}

export function serializeResolution(resolution: Resolution): Record<string, unknown> {
  const { credentials, ...settings } = resolution;
  return {
    Version: 1,
    AccessKeyId: credentials.accessKeyId,
    SecretAccessKey: credentials.secretAccessKey,
    ...(credentials.sessionToken !== undefined && { SessionToken: credentials.sessionToken }),
    ...(isTime(credentials.expiration) && { Expiration: credentials.expiration.toISOString() }),
    Keyhole: settings,
  };
}

/** @throws ProtocolError `bad-resolution` */
export function parseResolution(body: Record<string, unknown>): Resolution {
  const settings = body.Keyhole as Partial<Omit<Resolution, 'credentials'>> | undefined;
  const accessKeyId = text(body.AccessKeyId);
  const secretAccessKey = text(body.SecretAccessKey);
  const profile = text(settings?.profile);
  const region = text(settings?.region);
  if (!accessKeyId || !secretAccessKey || !profile || !region) {
    throw new ProtocolError('bad-resolution', 'the AWS settings of the caller came incomplete', { side: 'remote' });
  }
  const sessionToken = text(body.SessionToken);
  const expiration = typeof body.Expiration === 'string' ? new Date(body.Expiration) : undefined;
  return {
    profile,
    region,
    credentials: {
      accessKeyId,
      secretAccessKey,
      ...(sessionToken !== undefined && { sessionToken }),
      ...(isTime(expiration) && { expiration }),
    },
    credentialSource: text(settings?.credentialSource),
    asksProgram: settings?.asksProgram === true,
    endpoints: Object.fromEntries(
      serviceIds.map((id) => [id, text(settings?.endpoints?.[id])]).filter(([, url]) => url !== undefined),
    ),
    fips: settings?.fips === true,
    dualstack: settings?.dualstack === true,
    caBundle: text(settings?.caBundle),
    extraCa: text(settings?.extraCa),
    proxy: { https: text(settings?.proxy?.https), no: text(settings?.proxy?.no) },
  };
}

function isTime(date: Date | undefined): date is Date {
  return date !== undefined && !Number.isNaN(date.getTime());
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
