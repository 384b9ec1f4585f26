// A tunnel over an EC2 Instance Connect Endpoint: raw bytes in websocket frames, both ways with backpressure (protocol.md
// 9.3). It has no session at AWS, no half-close and no second life: when the websocket is gone, so is the tunnel.
import type { Agent } from 'node:http';
import { Duplex } from 'node:stream';
import { withRetries } from '../aws/retry.ts';
import type { Credentials } from '../aws/ssm-api.ts';
import type { Clock } from '../clock.ts';
import { KeyholeError, TransportError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { NetworkWatch, Watching } from '../network-watch.ts';
import { printable } from '../printable.ts';
import type { Transport, TransportStats } from '../tunnel/transport.ts';
import { version } from '../version.ts';
import { dialWebSocket } from '../websocket/dial.ts';
import type { LinkEnd, WebSocketLink } from '../websocket/link.ts';
import {
  clockWrong,
  closedLocally,
  failureOf,
  refused,
  textReceived,
  undelivered,
  unreachable,
  type Wanted,
} from './failures.ts';
import { presignTunnel } from './presign.ts';

export interface EiceTransportOptions extends Wanted {
  /** Unencrypted: for an endpoint on loopback, and for nothing else. */
  plain: boolean;
  /** Asked before each dial; expected to cache. */
  credentials(): Promise<Credentials>;
  /** Milliseconds since 1970 by AWS's clock. */
  awsTime(): number;
  /** Told where a refusal shows that it was wrong. */
  learnAwsTime(time: number): void;
  /** The way to the endpoint. */
  agentFor?(url: URL): Agent;
  pingIntervalMs: number;
  networkWatch: NetworkWatch;
  clock: Clock;
  log: Log;
}

/** The reference reads at most 65,000 bytes for each (9.3). */
const maxFrameBytes = 64_000;
/** Several of what is read at once, so that the producer is not stopped after each. */
const bufferBytes = 256 * 1024;
/** What is signed holds for a minute (9.2). */
const toleratedSkewMs = 30_000;
/** For the TCP connection, TLS and the upgrade of one dial. */
const dialTimeoutMs = 10_000;
/** How long what was taken may need to leave after end(), and the peer to answer our close frame. */
const closeTimeoutMs = 900;
/** How late a sign of life may be after a sleep or on another network: there is no second tunnel, so none is given up lightly. */
const signOfLifeMs = 15_000;

/**
 * Dials the endpoint. Whether the target can be reached is not known yet: only its first byte tells (9.3).
 * @throws KeyholeError; nothing is left then. `signal` gives up.
 */
export async function openEiceTransport(options: EiceTransportOptions, signal: AbortSignal): Promise<EiceTransport> {
  const { route, clock, log } = options;
  const link = await withRetries(() => dial(options, signal), { clock, signal });
  log('info', 'tunnel accepted', { endpoint: route.endpointId, target: route.instanceId });
  return new EiceTransport(options, link);
}

async function dial(options: EiceTransportOptions, signal: AbortSignal): Promise<WebSocketLink> {
  const { route, port, region, plain, clock, pingIntervalMs, agentFor } = options;
  const { authority, endpointId, privateIpAddress } = route;
  if (signal.aborted) throw givenUp(signal, route.instanceId);
  const request = {
    authority,
    instanceConnectEndpointId: endpointId,
    remotePort: port,
    privateIpAddress,
    // Always: a policy that caps it may deny a request without it (9.2).
    maxTunnelDuration: Math.floor(options.maxTunnelDurationMs / 1000),
  };
  const credentials = await options.credentials();
  const signedAt = options.awsTime();
  const target = await presignTunnel(request, { region, credentials, awsTime: signedAt });
  const url = `${plain ? 'ws' : 'wss'}://${authority}${target}`;
  const dialled = await dialWebSocket({
    url,
    headers: { 'User-Agent': `keyhole/${version}` },
    agent: agentFor?.(new URL(url)),
    clock,
    pingIntervalMs,
    timeoutMs: dialTimeoutMs,
    pieces: true, // boundaries mean nothing (9.3)
    signal,
  });
  if (signal.aborted) {
    if (dialled.outcome === 'open') dialled.link.destroy();
    throw givenUp(signal, route.instanceId);
  }
  switch (dialled.outcome) {
    case 'open':
      return dialled.link;
    case 'refused':
      // The next attempt is signed with the time of this answer.
      if (dialled.date !== undefined && Math.abs(dialled.date - signedAt) > toleratedSkewMs) {
        options.learnAwsTime(dialled.date);
        throw clockWrong(options);
      }
      throw refused(options, dialled.status, dialled.body);
    case 'unreachable':
      throw unreachable(options, dialled.why, dialled.cause);
  }
}

function givenUp(signal: AbortSignal, target: string): KeyholeError {
  if (signal.reason instanceof KeyholeError) return signal.reason;
  return new TransportError('interrupted', `the connection to ${target} was given up`);
}

export class EiceTransport extends Duplex implements Transport {
  readonly kind = 'eice';
  readonly sessionId = undefined;
  readonly #options: EiceTransportOptions;
  readonly #link: WebSocketLink;
  readonly #watching: Watching;
  readonly #openedAt: number;
  readonly #expiresAt: number;
  #bytesSent = 0;
  #bytesReceived = 0;
  #waitingWriter: ((error?: Error) => void) | undefined;
  /** Our close frame is sent: what still comes is of no interest. */
  #isClosing = false;
  /** The websocket is gone. */
  #isGone = false;

  /** @internal Use openEiceTransport. */
  constructor(options: EiceTransportOptions, link: WebSocketLink) {
    // No half-close (9.3): when the target's bytes have ended, so has the way to it.
    super({ allowHalfOpen: false, readableHighWaterMark: bufferBytes, writableHighWaterMark: bufferBytes });
    this.#options = options;
    this.#link = link;
    this.#watching = options.networkWatch.add({ doubt: () => link.probe(signOfLifeMs), hope() {} });
    this.#openedAt = options.clock.now();
    this.#expiresAt = options.clock.wallTime() + options.maxTunnelDurationMs;
    link.start({
      message: (bytes, isBinary) => this.#receive(bytes, isBinary),
      drain: () => this.#drained(),
      close: (end) => this.#closed(end),
    });
  }

  stats(): TransportStats {
    return {
      bytesSent: this.#bytesSent,
      bytesReceived: this.#bytesReceived,
      roundTripMs: this.#link.roundTripMs,
      resumes: 0,
      expiresAt: this.#expiresAt,
    };
  }

  override _read(): void {
    this.#link.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    // As on a socket whose peer has closed: nobody reads it any more.
    if (this.#isGone) {
      done();
      return;
    }
    if (!this.#link.isOpen) {
      this.#waitingWriter = done; // the websocket's end is on its way and has the reason
      return;
    }
    this.#options.networkWatch.glance();
    this.#bytesSent += chunk.length;
    this.#link.cork();
    // Alike in size: what Node reads at once, 64 KiB, would make a large one and a tiny one.
    const size = Math.ceil(chunk.length / Math.ceil(chunk.length / maxFrameBytes));
    for (let at = 0; at < chunk.length; at += size) this.#link.send(chunk.subarray(at, at + size));
    this.#link.uncork();
    if (this.#link.hasRoom) done();
    else this.#waitingWriter = done;
  }

  /** The close frame goes behind what was taken; the peer's answer says that all of it arrived there. */
  override _final(done: (error?: Error | null) => void): void {
    void this.#close().then((isSent) => {
      this.push(null);
      done(isSent ? null : undelivered(this.#options.route.instanceId));
    });
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    void this.#close().then(() => {
      this.#release(error ?? closedLocally());
      done(error);
    });
  }

  #receive(bytes: Buffer, isBinary: boolean): void {
    if (this.#isClosing || this.destroyed) return;
    if (!isBinary) {
      this.destroy(textReceived(this.#options.route.endpointId));
      return;
    }
    if (bytes.length === 0) return; // pushed, it would look like nothing to read
    this.#bytesReceived += bytes.length;
    if (!this.push(bytes)) this.#link.pause();
  }

  #drained(): void {
    if (this.#link.hasRoom) this.#release();
  }

  /** The websocket is gone, and with it the tunnel. */
  #closed(end: LinkEnd): void {
    const { clock, log, route } = this.#options;
    const reason = printable(end.reason);
    log('info', 'tunnel websocket closed', { endpoint: route.endpointId, code: end.code, reason });
    this.#isGone = true;
    this.#watching.end();
    if (this.#isClosing) return;
    const ageMs = clock.now() - this.#openedAt;
    const failure = failureOf(this.#options, { ...end, ageMs, bytesReceived: this.#bytesReceived });
    if (failure !== undefined) {
      this.destroy(failure);
      return;
    }
    this.push(null);
    this.#release();
  }

  #close(): Promise<boolean> {
    this.#isClosing = true;
    return this.#link.close(closeTimeoutMs);
  }

  /** Lets a waiting writer go on. */
  #release(error?: Error): void {
    const writer = this.#waitingWriter;
    this.#waitingWriter = undefined;
    writer?.(error);
  }
}
