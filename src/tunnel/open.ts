// From a target and a port to an open tunnel, by the way that choice.ts picks. What each way needs is put together here
// from the caller's AWS settings and ours; the ways themselves know neither.
import type { AwsContext } from '../aws/context.ts';
import type { StartSessionRequest } from '../aws/ssm-api.ts';
import type { Clock } from '../clock.ts';
import { objection, type Route } from '../eice/endpoint.ts';
import { findRoute } from '../eice/route.ts';
import { type EiceTransport, openEiceTransport } from '../eice/transport.ts';
import { AwsError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { NetworkWatch } from '../network-watch.ts';
import type { Settings } from '../settings.ts';
import type { SessionNotes } from '../ssm/session.ts';
import { likelyGateway } from '../ssm/stream-url.ts';
import { openSsmTransport, type SsmTransport } from '../ssm/transport.ts';
import type { PayloadMemory } from '../ssm/transport-options.ts';
import { isLoopback } from '../websocket/loopback.ts';
import type { TunnelChoice } from './choice.ts';
import { awaitFirstByte } from './first-byte.ts';
import type { Transport } from './transport.ts';

export interface TunnelOptions {
  /** `i-…` or `mi-…`. */
  target: string;
  port: number;
  aws: AwsContext;
  settings: Settings;
  /** Shared by all tunnels: what one found out saves the next the asking. */
  choice: TunnelChoice<Route>;
  payloadMemory: PayloadMemory;
  networkWatch: NetworkWatch;
  notes?: SessionNotes;
  /** Told why the tunnel goes the way that it goes, once it is open. */
  chosen?(why: string): void;
  clock: Clock;
  log: Log;
  /** Gives up: rejects after whatever was started has been ended. */
  signal: AbortSignal;
}

/** A StartSession that is not answered by then may stand in line behind others (aws/call-queue.ts). */
const askStatusAfterMs = 1_000;

/**
 * Resolves when bytes can flow. Over SSM it is not known yet whether anything listens on the port: SSM has no word for
 * that, so the caller has to wait for the first byte (protocol.md section 16, row 6).
 * @throws KeyholeError; nothing is left behind then.
 */
export async function openTunnel(options: TunnelOptions): Promise<Transport> {
  const { target, port, aws, settings, choice, signal } = options;
  const { transport, eiceEndpointId: endpointId, eiceEndpoint: endpointAuthority } = settings;
  const hasOtherWay = transport === 'auto' && objection(target, port) === undefined;
  const context = [aws.id, endpointId ?? '', endpointAuthority ?? ''].join(' ');
  return await choice.open<Transport>(
    { target, transport, context },
    {
      bySsm: () => (hasOtherWay ? openSsmUnlessAway(options) : openSsm(options, signal)),
      objection: () => objection(target, port),
      findRoute: () => findRoute(target, { ec2: aws.ec2, fips: aws.fips, endpointId, endpointAuthority }),
      byEndpoint: (route) => openEice(options, route),
      ...(options.chosen && { chosen: options.chosen }),
    },
    signal,
  );
}

async function openSsm(options: TunnelOptions, signal: AbortSignal): Promise<Transport> {
  const { target, port, settings } = options;
  const request = { target, documentName: settings.sshDocument, parameters: { portNumber: [String(port)] } };
  return await openSession(options, request, signal);
}

/** What every session needs. */
export type SessionParts = Pick<
  TunnelOptions,
  'aws' | 'settings' | 'payloadMemory' | 'networkWatch' | 'notes' | 'clock' | 'log'
>;

/** Starts a session of a Port document, and resolves when its data channel is open. @throws as openTunnel */
export async function openSession(
  { aws, settings, payloadMemory, networkWatch, notes, clock, log }: SessionParts,
  request: StartSessionRequest,
  signal: AbortSignal,
): Promise<SsmTransport> {
  void prepareGateway(aws);
  return await openSsmTransport(
    {
      api: aws.ssm,
      signer: aws.signer,
      agentFor: aws.network.agentFor,
      clock,
      log,
      request,
      clientVersion: settings.clientVersion,
      streamHosts: settings.streamHosts,
      pingIntervalMs: settings.pingIntervalMs,
      maxPayloadBytes: settings.maxPayloadBytes,
      maxMessagesPerSecond: settings.maxMessagesPerSecond,
      resumeTimeoutMs: settings.resumeTimeoutMs,
      payloadMemory,
      networkWatch,
      ...(notes && { notes }),
    },
    signal,
  );
}

/** TCP and TLS to the gateway take two round trips; StartSession leaves time for them. Never rejects. */
async function prepareGateway({ ssm, network }: AwsContext): Promise<void> {
  const gateway = await ssm.endpoint().then(likelyGateway, () => undefined);
  if (gateway !== undefined) network.prepare(gateway);
}

/**
 * Nobody stands in the line for StartSession only to hear that the target is not there. As a rule StartSession itself has
 * said by then whether it is, so that asking costs no connection anything.
 */
async function openSsmUnlessAway(options: TunnelOptions): Promise<Transport> {
  const { target, aws, notes, clock, signal } = options;
  const away = new AbortController();
  let isStarted = false;
  const ask = async () => {
    if ((await aws.ssm.getConnectionStatus(target, signal)) === 'notconnected' && !isStarted) {
      away.abort(notConnected(target, aws.region));
    }
  };
  // It may be denied; then StartSession's own answer has to do.
  const timer = clock.after(askStatusAfterMs, () => void ask().catch(() => {}));
  const started = (sessionId: string) => {
    isStarted = true;
    timer.cancel();
    notes?.started(sessionId);
  };
  try {
    return await openSsm(
      {
        ...options,
        notes: {
          started,
          ended: (sessionId) => notes?.ended(sessionId),
          stuck: (failure) => notes?.stuck?.(failure),
        },
      },
      AbortSignal.any([signal, away.signal]),
    );
  } catch (error) {
    // What the line says of a wait that was ended is not why.
    throw away.signal.aborted && !signal.aborted ? away.signal.reason : error;
  } finally {
    timer.cancel();
  }
}

async function openEice(options: TunnelOptions, route: Route): Promise<EiceTransport> {
  const { target, port, aws, settings, clock, log, signal } = options;
  const transport = await openEiceTransport(
    {
      route,
      port,
      plain: isPlain(aws.ec2.endpoint, route.authority),
      maxTunnelDurationMs: settings.maxTunnelDurationMs,
      region: aws.region,
      profile: aws.credentialSource,
      credentials: aws.credentials,
      awsTime: aws.awsTime,
      learnAwsTime: aws.learnAwsTime,
      agentFor: aws.network.agentFor,
      pingIntervalMs: settings.pingIntervalMs,
      networkWatch: options.networkWatch,
      clock,
      log,
    },
    signal,
  );
  await awaitFirstByte(transport, { host: target, port, timeoutMs: settings.firstByteTimeoutMs, clock, signal });
  return transport;
}

/** Unencrypted only where EC2, which says where endpoints are, is itself called so on loopback. */
function isPlain(ec2: URL | undefined, authority: string): boolean {
  if (ec2?.protocol !== 'http:' || !isLoopback(ec2.hostname)) return false;
  return isLoopback(new URL(`http://${authority}`).hostname);
}

function notConnected(target: string, region: string): AwsError {
  return new AwsError('target-not-connected', `${target} is not connected to Systems Manager in ${region}`, {
    service: 'ssm',
    apiCode: 'TargetNotConnected',
    hint: 'is it running, in this region and account, with the SSM agent up and a role with AmazonSSMManagedInstanceCore?',
  });
}
