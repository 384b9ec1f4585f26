// What must hold between this machine and AWS: credentials, clock, and the way to the services' endpoints.
import { lookup } from 'node:dns/promises';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import { adviseAwsError } from '../aws/advice.ts';
import type { AwsContext } from '../aws/context.ts';
import { maxClockSkewMs } from '../aws/identity.ts';
import { KeyholeError } from '../errors.ts';
import { likelyGateway } from '../ssm/stream-url.ts';
import { type Finding, fail, failed, none, pass, warn } from './finding.ts';

const answerTimeoutMs = 5_000;
/** SigV4 has minutes to spare; certificates and SSO have not always. */
const noticeableSkewMs = 60_000;

export async function* checkAccount(aws: AwsContext): AsyncGenerator<Finding> {
  const source = aws.credentialSource === undefined ? 'from the environment' : `of profile ${aws.credentialSource}`;
  yield pass('credentials', source);
  yield pass('region', aws.region);
  const [{ identity, clockOffsetMs }, endpoints] = await Promise.all([aws.whoAmI(), checkEndpoints(aws)]);
  yield identity instanceof KeyholeError ? failed('identity', identity) : pass('identity', identity.arn);
  yield checkClock(clockOffsetMs);
  yield* endpoints;
}

function checkClock(offsetMs: number | undefined): Finding {
  if (offsetMs === undefined) return none('clock', 'AWS gave no answer to compare it with');
  const seconds = Math.round(Math.abs(offsetMs) / 1000);
  const detail = `this machine's clock is ${seconds} s ${offsetMs > 0 ? 'behind' : 'ahead of'} AWS's`;
  const remedy = 'set the clock (timedatectl shows whether it is synchronised)';
  if (Math.abs(offsetMs) >= maxClockSkewMs) return fail('clock', detail, remedy);
  if (Math.abs(offsetMs) >= noticeableSkewMs) return warn('clock', detail, remedy);
  return pass('clock', detail);
}

/** Whether anything answers there; what, the other checks show. */
async function checkEndpoints(aws: AwsContext): Promise<Finding[]> {
  const ssm = await aws.ssm.endpoint();
  const gateway = likelyGateway(ssm);
  return await Promise.all([
    checkEndpoint('endpoint-ssm', 'ssm', ssm, aws),
    gateway === undefined
      ? none('endpoint-gateway', 'the host of the message gateway is told with each session')
      : checkEndpoint('endpoint-gateway', 'ssmmessages', new URL(`https://${gateway.host}`), aws),
  ]);
}

async function checkEndpoint(check: string, service: string, url: URL, aws: AwsContext): Promise<Finding> {
  try {
    await ask(url, aws);
    return pass(check, `${url.host} answers${await describeAddress(url)}`);
  } catch (error) {
    const context = { service, operation: 'GET', region: aws.region, profile: undefined, endpointHost: url.host };
    return failed(check, adviseAwsError(error, context));
  }
}

/** Any answer will do, also that this was no proper request. */
function ask(url: URL, aws: AwsContext): Promise<void> {
  return new Promise((resolve, reject) => {
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
    const signal = AbortSignal.timeout(answerTimeoutMs);
    const request = send(url, { method: 'GET', agent: aws.network.agentFor(url), signal });
    request.once('error', (error) => reject(error.name === 'AbortError' ? { name: 'TimeoutError' } : error));
    request.once('response', (response) => {
      response.destroy();
      const refusedByProxy = response.statusCode === 407;
      if (refusedByProxy) reject({ name: 'Unknown', $metadata: { httpStatusCode: 407 } });
      else resolve();
    });
    request.end();
  });
}

async function describeAddress({ hostname }: URL): Promise<string> {
  if (isIP(hostname.replace(/^\[|\]$/g, '')) !== 0) return '';
  const found = await lookup(hostname).catch(() => undefined); // a proxy may resolve what we can't
  if (found === undefined) return '';
  return isPrivate(found.address) ? ` at ${found.address}, a VPC endpoint by its address` : ` at ${found.address}`;
}

/** RFC 1918, RFC 4193. */
function isPrivate(address: string): boolean {
  return /^(?:10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|f[cd])/i.test(address);
}
