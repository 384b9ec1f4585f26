// The signed URL of a tunnel (protocol.md 9.2): Signature Version 4 in the query, service ec2-instance-connect, signed
// header `host` alone. Valid for a minute, so it is made right before each dial. It is a secret: never in a log or an error.
import { SignatureV4 } from '@smithy/signature-v4';
import { Sha256 } from '../aws/sha256.ts';
import type { Credentials } from '../aws/ssm-api.ts';

export interface TunnelRequest {
  /** Host, with a port where it is not 443. */
  authority: string;
  instanceConnectEndpointId: string;
  remotePort: number;
  /** IPv4 or IPv6. */
  privateIpAddress: string;
  /** Seconds, 1 to 3600; undefined leaves it to the service. */
  maxTunnelDuration: number | undefined;
}

export interface SignerOptions {
  region: string;
  credentials: Credentials;
  /** Milliseconds since 1970 by AWS's clock. */
  awsTime: number;
}

const expiresSeconds = 60;

/** The order in which the reference writes them, after its own (9.2). */
const signatureParameters = [
  'X-Amz-Algorithm',
  'X-Amz-Credential',
  'X-Amz-Date',
  'X-Amz-Expires',
  'X-Amz-SignedHeaders',
  'X-Amz-Security-Token',
  'X-Amz-Signature',
];

/** Path and query, signed for `authority`. */
export async function presignTunnel(request: TunnelRequest, options: SignerOptions): Promise<string> {
  const { authority, instanceConnectEndpointId, remotePort, privateIpAddress, maxTunnelDuration } = request;
  const own: Record<string, string> = {
    instanceConnectEndpointId,
    remotePort: String(remotePort),
    privateIpAddress,
    ...(maxTunnelDuration !== undefined && { maxTunnelDuration: String(maxTunnelDuration) }),
  };
  const signer = new SignatureV4({
    service: 'ec2-instance-connect',
    region: options.region,
    credentials: options.credentials,
    sha256: Sha256,
    applyChecksum: false,
  });
  const path = '/openTunnel';
  const { query = {} } = await signer.presign(
    { method: 'GET', protocol: 'wss:', hostname: authority, path, query: own, headers: { host: authority } },
    { signingDate: new Date(options.awsTime), expiresIn: expiresSeconds },
  );
  const names = [...Object.keys(own), ...signatureParameters.filter((name) => query[name] !== undefined)];
  return `${path}?${names.map((name) => `${name}=${encode(String(query[name]))}`).join('&')}`;
}

/** As a canonical query has it: everything but unreserved characters (RFC 3986 section 2.3). */
function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}
