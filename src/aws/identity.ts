// Who AWS takes us for: GetCallerIdentity of STS, which every valid key may call (no policy can forbid it). One signed
// request of our own: the SDK's client of STS would be more code than everything else here.
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { SignatureV4 } from '@smithy/signature-v4';
import type { KeyholeError } from '../errors.ts';
import { adviseAwsError } from './advice.ts';
import type { Network } from './network.ts';
import { Sha256 } from './sha256.ts';
import type { Credentials } from './ssm-api.ts';

export interface IdentityOptions {
  region: string;
  /** For messages. */
  profile: string | undefined;
  /** Where STS is called. */
  endpoint: URL;
  network: Network;
  credentials(): Promise<Credentials>;
  /** Milliseconds since 1970 by this machine's clock. */
  wallTime(): number;
}

export interface Identity {
  /** `arn:aws:iam::111122223333:user/alice`, `arn:aws:sts::…:assumed-role/…` */
  arn: string;
  account: string;
}

export interface WhoAmI {
  /** Or why there is none: AwsError. */
  identity: Identity | KeyholeError;
  /** By how much AWS's clock is ahead of this machine's, milliseconds; undefined where AWS gave no answer. */
  clockOffsetMs: number | undefined;
}

const timeoutMs = 5_000;
const maxBodyBytes = 65_536;
/** From here on AWS refuses signatures (IAM User Guide, "Troubleshoot signed requests"). */
export const maxClockSkewMs = 300_000;

/** Never rejects. A clock that is wrong is told, and signed around, since all our calls do the same. */
export async function whoAmI(options: IdentityOptions): Promise<WhoAmI> {
  const first = await ask(options, 0);
  const { clockOffsetMs } = first;
  if (clockOffsetMs === undefined || Math.abs(clockOffsetMs) < maxClockSkewMs) return first;
  return { ...(await ask(options, clockOffsetMs)), clockOffsetMs };
}

async function ask(options: IdentityOptions, offsetMs: number): Promise<WhoAmI> {
  const { region, profile, endpoint } = options;
  let clockOffsetMs: number | undefined;
  try {
    const { status, date, body } = await post(options, offsetMs);
    if (!Number.isNaN(date)) clockOffsetMs = date - options.wallTime();
    const text = (name: string) => new RegExp(`<${name}>([^<]*)</${name}>`).exec(body)?.[1];
    const [arn, account] = [text('Arn'), text('Account')];
    if (status === 200 && arn !== undefined && account !== undefined)
      return { identity: { arn, account }, clockOffsetMs };
    const error = {
      name: text('Code') ?? 'Unknown',
      message: text('Message') ?? '',
      $metadata: metadata(status, text),
    };
    throw error;
  } catch (error) {
    const context = { service: 'sts', operation: 'GetCallerIdentity', region, profile, endpointHost: endpoint.host };
    return { identity: adviseAwsError(error, context), clockOffsetMs };
  }
}

function metadata(httpStatusCode: number, text: (name: string) => string | undefined) {
  const requestId = text('RequestId');
  return { httpStatusCode, ...(requestId !== undefined && { requestId }) };
}

async function post(
  { region, endpoint, network, credentials, wallTime }: IdentityOptions,
  offsetMs: number,
): Promise<{ status: number; date: number; body: string }> {
  const body = 'Action=GetCallerIdentity&Version=2011-06-15';
  const signer = new SignatureV4({ service: 'sts', region, credentials, sha256: Sha256 });
  const signed = await signer.sign(
    {
      method: 'POST',
      protocol: endpoint.protocol,
      hostname: endpoint.hostname,
      path: endpoint.pathname,
      headers: { host: endpoint.host, 'content-type': 'application/x-www-form-urlencoded' },
      body,
    },
    { signingDate: new Date(wallTime() + offsetMs) },
  );
  const send = endpoint.protocol === 'https:' ? httpsRequest : httpRequest;
  return await new Promise((resolve, reject) => {
    const request = send(endpoint, {
      method: 'POST',
      headers: { ...signed.headers, 'content-length': String(body.length) },
      agent: network.agentFor(endpoint),
      signal: AbortSignal.timeout(timeoutMs),
    });
    request.once('error', (error) => reject(error.name === 'AbortError' ? { name: 'TimeoutError' } : error));
    request.once('response', (response) => {
      let text = '';
      response.on('data', (chunk) => {
        if (text.length < maxBodyBytes) text += String(chunk);
      });
      response.once('error', reject);
      response.once('end', () => {
        resolve({ status: response.statusCode ?? 0, date: Date.parse(response.headers.date ?? ''), body: text });
      });
    });
    request.end(body);
  });
}
