// Which StreamUrl is believed. The URL comes in an API answer and the websocket to it carries the session's token and a
// signature, so its host must be a Session Manager host (protocol.md 2.2: newer plugins check the same) or one that
// the user named. Plain `ws://` and loopback are for an SSM endpoint that is itself on loopback, and for nothing else.
import { ProtocolError } from '../errors.ts';
import { isLoopback } from '../websocket/loopback.ts';

const partitionSuffixes = [
  'amazonaws.com',
  'amazonaws.com.cn',
  'api.aws',
  'api.amazonwebservices.com.cn',
  'amazonaws.eu',
  'api.amazonwebservices.eu',
  'c2s.ic.gov',
  'sc2s.sgov.gov',
  'cloud.adc-e.uk',
  'csp.hci.ic.gov',
];

const region = '[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}';
const suffix = partitionSuffixes.map((name) => name.replaceAll('.', '\\.')).join('|');
const awsHost = new RegExp(`^ssmmessages(?:-fips)?\\.${region}\\.(?:${suffix})$`);
const vpcEndpointHost = new RegExp(`^vpce-[a-z0-9-]+\\.ssmmessages(?:-fips)?\\.${region}\\.vpce\\.(?:${suffix})$`);

const presignedParameters = [
  'X-Amz-Algorithm',
  'X-Amz-Credential',
  'X-Amz-Date',
  'X-Amz-Expires',
  'X-Amz-SignedHeaders',
  'X-Amz-Signature',
  'X-Amz-Security-Token',
];

export interface StreamUrlRules {
  /** Where the SSM API was called. */
  apiEndpoint: URL;
  /** Further hosts the user allows; `*.` at the start stands for any labels. */
  allowedHosts: readonly string[];
}

/** @throws ProtocolError `stream-url-refused` */
export function checkStreamUrl(streamUrl: string, { apiEndpoint, allowedHosts }: StreamUrlRules): URL {
  // The text itself goes into the request line, and a URL parser leaves out or rewrites such characters.
  if (/[^\x21-\x7e]|\\/.test(streamUrl)) throw refused('it has characters that no URL has');
  const url = URL.canParse(streamUrl) ? new URL(streamUrl) : undefined;
  if (url === undefined) throw refused('it is not a URL');
  if (url.protocol !== 'wss:' && url.protocol !== 'ws:') throw refused(`its scheme is ${url.protocol}`);
  if (url.username !== '' || url.password !== '') throw refused('it carries a user name');
  const host = url.hostname;
  if (isLoopback(apiEndpoint.hostname) && isLoopback(host)) return url;
  if (url.protocol === 'ws:') throw refused('it is not encrypted');
  if (allowedHosts.some((pattern) => matches(pattern, host))) return url;
  if (url.port === '' && (awsHost.test(host) || vpcEndpointHost.test(host))) return url;
  throw refused(`${url.host} is not a Session Manager host`);
}

/**
 * Where StreamUrl leads as a rule, so that the way there can be made ready while StartSession is under way; undefined for
 * API endpoints that AWS does not document. Whether it is right shows when StreamUrl comes, and only that is dialled.
 */
export function likelyGateway({ protocol, hostname, port }: URL): URL | undefined {
  const name = hostname.replace(/^ssm\./, 'ssmmessages.');
  return protocol === 'https:' && port === '' && awsHost.test(name) ? new URL(`wss://${name}`) : undefined;
}

/** A URL signed by somebody else: no header is added, and its session is never resumed (protocol.md 2.2). */
export function isPresigned(url: URL): boolean {
  return presignedParameters.some((name) => url.searchParams.has(name));
}

function matches(pattern: string, host: string): boolean {
  return pattern.startsWith('*.') ? host.endsWith(pattern.slice(1)) : host === pattern;
}

function refused(why: string): ProtocolError {
  return new ProtocolError('stream-url-refused', `the stream URL that AWS answered is not used: ${why}`, {
    side: 'remote',
    hint: 'if this host is yours (a VPC endpoint behind a name of its own), allow it with stream_hosts',
  });
}
