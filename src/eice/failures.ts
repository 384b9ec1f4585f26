// What can go wrong with a tunnel of an EC2 Instance Connect Endpoint, in words: refusals of the upgrade, and how an open
// tunnel ends (protocol.md 9.3, 9.4). The numbers of the close codes are not known, so texts decide where they can.
import { adviseAwsError } from '../aws/advice.ts';
import { AwsError, type KeyholeError, ProtocolError, TransportError } from '../errors.ts';
import { printable } from '../printable.ts';
import { showDuration } from '../settings.ts';
import type { LinkEnd } from '../websocket/link.ts';
import { parseRefusal } from '../websocket/refusal.ts';
import type { Route } from './endpoint.ts';

/** What a tunnel was asked for; for messages. */
export interface Wanted {
  route: Route;
  port: number;
  maxTunnelDurationMs: number;
  region: string;
  /** Where the credentials come from; undefined for keys in the environment. */
  profile: string | undefined;
}

const service = 'ec2-instance-connect';

/** Concurrent tunnels of one endpoint (9.4). */
const connectionsPerEndpoint = 20;

export function unreachable({ route, region, profile }: Wanted, why: string, cause: unknown): KeyholeError {
  const endpointHost = route.authority;
  if (typeof (cause as { code?: unknown } | undefined)?.code === 'string') {
    const context = { service, operation: 'OpenTunnel', region, profile, endpointHost, target: route.instanceId };
    const advised = adviseAwsError(cause, context);
    if (advised.code !== 'aws-error') return advised;
  }
  return new AwsError('endpoint-unreachable', `${endpointHost} cannot be reached: ${printable(why)}`, {
    service,
    apiCode: 'Error',
    hint: 'port 443 of the endpoint must be reachable, through a proxy if need be',
    retryable: true,
    cause,
  });
}

/** An HTTP answer other than 101. */
export function refused(wanted: Wanted, status: number, body: string): KeyholeError {
  const { route, port, maxTunnelDurationMs, region, profile } = wanted;
  const { code = '', text } = parseRefusal(body);
  const { endpointId, endpointArn, privateIpAddress } = route;
  if (/^AccessDenied|^Unauthorized|NotAuthorized/.test(code) || (code === '' && (status === 401 || status === 403))) {
    const resource = endpointArn ?? `the instance-connect-endpoint ${endpointId}`;
    const conditions = `remotePort ${port}, privateIpAddress ${privateIpAddress}, maxTunnelDuration ${maxTunnelDurationMs / 1000}`;
    return new AwsError('access-denied', `AWS denies ec2-instance-connect:OpenTunnel on ${resource} (${conditions})`, {
      service,
      apiCode: code || 'AccessDenied',
      hint: `its policy must allow ec2-instance-connect:OpenTunnel there, with conditions (ec2-instance-connect:remotePort, :privateIpAddress, :maxTunnelDuration, aws:SourceIp) that this meets${text && `; AWS says: ${text}`}`,
    });
  }
  if (/Quota|LimitExceeded|TooMany(?!Requests)|Maximum/i.test(code)) return quotaFull(endpointId, code, text);
  if (/^Invalid(Parameter|Request|Args)|^Validation|^MissingParameter/.test(code)) {
    return new AwsError('eice-parameter', `${endpointId} refuses the tunnel: ${text || code}`, {
      service,
      apiCode: code,
      hint: `asked for were port ${port}, address ${privateIpAddress} and ${showDuration(maxTunnelDurationMs)} (max_tunnel_duration)`,
    });
  }
  const name = code === '' && status < 500 && status !== 429 ? `HTTP ${status}` : code;
  return adviseAwsError(
    { name, message: text, $metadata: { httpStatusCode: status } },
    { service, operation: 'OpenTunnel', region, profile, target: route.instanceId, endpointHost: route.authority },
  );
}

/** As SSM's API says it: tried once more (aws/retry.ts). */
export function clockWrong({ route, region, profile }: Wanted): KeyholeError {
  return adviseAwsError(
    { name: 'RequestTimeTooSkewed' },
    { service, operation: 'OpenTunnel', region, profile, target: route.instanceId, endpointHost: route.authority },
  );
}

function quotaFull(endpointId: string, apiCode: string, text: string): AwsError {
  const says = text && `: ${text}`;
  return new AwsError('eice-quota', `endpoint ${endpointId} takes no further connection${says}`, {
    service,
    apiCode,
    hint: `an endpoint carries ${connectionsPerEndpoint} at once; let ssh share one (ControlMaster), or end some`,
  });
}

export interface End extends LinkEnd {
  /** Since the tunnel was opened. */
  ageMs: number;
  bytesReceived: number;
}

/** AWS's clock and ours need not agree to the second on when a tunnel's time is over. */
const expirySlackMs = 2_000;

/** Why an open tunnel ended; undefined where the target closed it. */
export function failureOf(wanted: Wanted, end: End): KeyholeError | undefined {
  const { route, port, maxTunnelDurationMs } = wanted;
  const { instanceId, endpointId, privateIpAddress } = route;
  const reason = printable(end.reason);
  const isExpired = end.code !== undefined && end.ageMs >= maxTunnelDurationMs - expirySlackMs;
  if (isExpired || /expired|tunnel duration|time ?limit/i.test(reason)) return expired(wanted);
  if (end.code === 1000) {
    if (end.bytesReceived > 0) return undefined;
    return new TransportError('port-closed', `${instanceId} ended the connection before it sent anything`, {
      hint: 'does sshd take more connections there (MaxStartups), and from the endpoint?',
    });
  }
  if (/unable to connect/i.test(reason)) {
    return new TransportError(
      'eice-target',
      `endpoint ${endpointId} cannot connect to ${privateIpAddress} port ${port}`,
      {
        hint: `does sshd run there, and do the security groups let the endpoint out and ${instanceId} take it in?`,
      },
    );
  }
  if (end.code === undefined) {
    return new TransportError('connection-lost', `the connection to endpoint ${endpointId} was lost`, {
      hint: 'a tunnel through EC2 Instance Connect Endpoint can not be resumed; one through SSM can (transport = "ssm")',
    });
  }
  return new TransportError(
    'eice-closed',
    `endpoint ${endpointId} closed the tunnel with code ${end.code}${reason && `: ${reason}`}`,
    { hint: 'it can not be resumed; connect again' },
  );
}

function expired({ route, maxTunnelDurationMs }: Wanted): TransportError {
  const lasted = showDuration(maxTunnelDurationMs);
  return new TransportError('eice-expired', `the tunnel to ${route.instanceId} has reached its ${lasted}`, {
    hint: 'EC2 Instance Connect Endpoint ends each after max_tunnel_duration, 1h at most, and it can not be resumed; SSM has no such limit',
  });
}

export function textReceived(endpointId: string): ProtocolError {
  return new ProtocolError('eice-message', `endpoint ${endpointId} sent text in a tunnel that carries bytes`, {
    side: 'remote',
  });
}

/** What was taken could not be sent before the end. */
export function undelivered(instanceId: string): TransportError {
  return new TransportError('undelivered', `${instanceId} did not take all bytes before the tunnel was ended`);
}

export function closedLocally(): TransportError {
  return new TransportError('closed', 'the tunnel was closed');
}
