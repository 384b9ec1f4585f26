// One tunnel of the daemon: from a caller's request over the open transport to the last byte. What goes wrong in it ends
// it and nothing else. The order of a connection's steps is this file's.
import type { Socket } from 'node:net';
import type { AwsContext } from '../aws/context.ts';
import { type Frame, FrameType } from '../control/frame.ts';
import { type ControlLink, expectFrame } from '../control/link.ts';
import type { OpenRequest, Progress } from '../control/message.ts';
import { KeyholeError, reportOf, TransportError } from '../errors.ts';
import type { HostKey } from '../hostkeys/host-key.ts';
import { choosePusher } from '../keypush/choose-pusher.ts';
import type { Log } from '../log.ts';
import { personTimeoutMs } from '../own-process.ts';
import { findPaths } from '../paths.ts';
import { type Call, readCall } from '../target/call.ts';
import type { Host } from '../target/host.ts';
import { openOnArrival } from '../tunnel/arrival.ts';
import { Deadline } from '../tunnel/deadline.ts';
import { awaitFirstByte } from '../tunnel/first-byte.ts';
import { openTunnel, type TunnelOptions } from '../tunnel/open.ts';
import { relay } from '../tunnel/relay.ts';
import type { Transport, TransportStats } from '../tunnel/transport.ts';
import { within } from '../within.ts';
import { askCaller } from './ask-caller.ts';
import type { DaemonParts } from './parts.ts';
import { PeerSocket } from './peer-socket.ts';
import { notesFor } from './session-notes.ts';

export interface TunnelStatus extends TransportStats {
  id: number;
  host: string;
  port: string;
  user: string | undefined;
  state: ShownState;
  transport: 'ssm' | 'eice' | undefined;
  /** Why by this transport. */
  chosenBecause?: string;
  /** Wall time, ms since 1970. */
  since: number;
  /** The process that asked, ssh as a rule. */
  clientPid: number;
  sessionId: string | undefined;
}

/** `ready`: the caller has been told, and its socket carries frames no more. */
type TunnelState = 'opening' | 'ready' | 'open' | 'closing';

/** `resuming`: open, with its path cut and being taken up again. */
type ShownState = TunnelState | 'resuming';

/** Codes of a target that is not there, which may be what the tunnel is waiting for. */
const notThere = new Set(['target-not-connected', 'instance-stopped']);
/** ssh takes the socket over as soon as the helper has gone: at once, or never. */
const handoverTimeoutMs = 30_000;

export class Tunnel {
  readonly id: number;
  readonly #request: OpenRequest;
  readonly #parts: DaemonParts;
  readonly #log: Log;
  readonly #since: number;
  #state: TunnelState = 'opening';
  #transport: Transport | undefined;
  #chosenBecause: string | undefined;
  /** What was not done because the target was not there, until that is known of the tunnel itself. */
  #early: [event: string, failure: KeyholeError][] | undefined = [];

  constructor(id: number, request: OpenRequest, parts: DaemonParts) {
    this.id = id;
    this.#request = request;
    this.#parts = parts;
    this.#since = parts.clock.wallTime();
    this.#log = (level, event, fields) => parts.log(level, event, { tunnel: id, ...fields });
  }

  status(): TunnelStatus {
    const stats = this.#transport?.stats();
    return {
      id: this.id,
      host: this.#request.host,
      port: this.#request.port,
      user: this.#request.user,
      state: this.#state !== 'closing' && stats?.interrupted !== undefined ? 'resuming' : this.#state,
      transport: this.#transport?.kind,
      ...(this.#chosenBecause !== undefined && { chosenBecause: this.#chosenBecause }),
      since: this.#since,
      clientPid: this.#request.caller.parentPid,
      sessionId: this.#transport?.sessionId,
      bytesSent: stats?.bytesSent ?? 0,
      bytesReceived: stats?.bytesReceived ?? 0,
      roundTripMs: stats?.roundTripMs,
      resumes: stats?.resumes ?? 0,
      ...(stats?.expiresAt !== undefined && { expiresAt: stats.expiresAt }),
      ...(stats?.interrupted !== undefined && { interrupted: stats.interrupted }),
    };
  }

  /** Resolves when nothing is left of it. Never rejects: a failure is told to the caller or recorded. */
  async run(link: ControlLink, stop: AbortSignal): Promise<void> {
    const { host, port } = this.#request;
    this.#log('info', 'tunnel wanted', { host, port, user: this.#request.user, client: this.#request.caller.pid });
    try {
      const transport = await this.#open(link, stop);
      const socket = await this.#handOver(link, transport, stop);
      await this.#relay(socket, transport, stop);
      const { interrupted: _, ...stats } = transport.stats();
      this.#log('info', 'tunnel closed', stats);
    } catch (error) {
      this.#fail(link, error);
    } finally {
      this.#state = 'closing';
      link.socket.destroySoon();
      await closeTransport(this.#transport);
    }
  }

  /** All steps until the target has spoken. What was started by one that fails is ended. */
  async #open(link: ControlLink, stop: AbortSignal): Promise<Transport> {
    const call = this.#readRequest();
    const { settings, host } = call;
    link.send(FrameType.progress, { text: `opening ${host.name}`, deadlineMs: settings.deadlineMs });
    const { clock, names } = this.#parts;
    const deadline = new Deadline(clock, host.name, settings.deadlineMs);
    const signal = AbortSignal.any([link.closed, stop, deadline.signal]);
    try {
      const setDeadline = (ms: number, text: string, shown: boolean) => {
        link.send(FrameType.progress, { text, deadlineMs: deadline.restart(ms), shown } satisfies Progress);
      };
      let isPersonAsked = false;
      const resolving = this.#resolveAws(link, host, () => {
        isPersonAsked = true;
        setDeadline(personTimeoutMs + settings.deadlineMs, 'a person is asked', false);
      });
      const aws = await within(signal, resolving);
      if (isPersonAsked) setDeadline(settings.deadlineMs, `opening ${host.name}`, false);
      const target = await names.idOf(call, aws, signal);
      const notes = {
        ...notesFor(this.#parts.ledger, { caller: this.#request.caller, aws, host, target }),
        stuck: (failure: KeyholeError) => this.#parts.recordFailure(this.#request, failure),
      };
      let prepared: Promise<unknown> = Promise.resolve();
      const transport = await openOnArrival({
        target,
        aws,
        settings,
        clock,
        log: this.#log,
        signal,
        open: () => {
          // Anew with each attempt: a target that was not there took no key and told none.
          this.#early = [];
          prepared = this.#offerKey(aws, call, target, this.#learnHostKeys(aws, call, target, signal));
          return this.#openOnce(call, { target, aws, notes, signal });
        },
        onStart: (text, withinMs) => setDeadline(withinMs + settings.deadlineMs, text, true),
      }).catch((error: unknown) => {
        names.forgetHost(call, aws);
        throw error;
      });
      await within(signal, prepared);
      const early = this.#early ?? [];
      this.#early = undefined;
      for (const [event, failure] of early) this.#doWithout(event, failure);
      return transport;
    } finally {
      deadline.cancel();
    }
  }

  async #openOnce(
    { settings, host, port }: Call,
    parts: Pick<TunnelOptions, 'target' | 'aws' | 'notes' | 'signal'>,
  ): Promise<Transport> {
    const { clock, choice, payloadMemory, networkWatch } = this.#parts;
    const chosen = (why: string) => {
      this.#chosenBecause = why;
    };
    const shared = { choice, payloadMemory, networkWatch, chosen, clock };
    const transport = await openTunnel({ ...parts, ...shared, port, settings, log: this.#log });
    // Whoever uses it is told of an error when it happens; between two users nobody would be, and that ends a process.
    transport.on('error', () => {});
    this.#transport = transport;
    const timeoutMs = settings.firstByteTimeoutMs;
    await awaitFirstByte(transport, { host: host.name, port, timeoutMs, clock, signal: parts.signal });
    return transport;
  }

  #readRequest(): Call {
    const { flags, caller } = this.#request;
    return readCall(this.#request, { flags, env: caller.env, file: findPaths(caller.env).configFile });
  }

  #resolveAws(link: ControlLink, host: Host, onAsksPerson: () => void): Promise<AwsContext> {
    const wanted = { profile: host.profile, region: host.region };
    const ask = (tell: () => void) => askCaller(link, wanted, tell);
    return this.#parts.aws.open(this.#request.caller, wanted, ask, onAsksPerson);
  }

  /**
   * The public key goes to the instance while the tunnel opens; the target's agent socket is there when this resolves, and its
   * host keys are known if they ever are. Never rejects: without any of it, the user's own keys may do. Why it is missing is
   * recorded.
   */
  async #offerKey(
    aws: AwsContext,
    { settings, host, namedPort, user }: Call,
    target: string,
    hostKnown: Promise<HostKey[] | undefined>,
  ): Promise<void> {
    if (user === undefined) return;
    const { agents, keyring, keyPush } = this.#parts;
    const failed = (error: unknown) => this.#doWithout('no key offered', error);
    try {
      const pusher = choosePusher(target, settings, aws);
      const push = pusher && { target: `${aws.id}/${target}`, user, pusher, failed };
      if (push !== undefined) keyPush.begin({ ...push, publicKey: keyring.current().publicLine });
      const upstream = this.#request.upstreamAgent ?? settings.agentUpstream;
      const allowUnbound = settings.agentAllowUnbound;
      const hostKeys = await hostKnown;
      await agents?.serve({ host: host.name, port: namedPort, user, push, hostKeys, upstream, allowUnbound });
    } catch (error) {
      failed(error);
    }
  }

  /** ssh reads known_hosts after `ready`. Never rejects: without, ssh does as it is configured for hosts that it does not know. */
  async #learnHostKeys(
    aws: AwsContext,
    { settings, host, namedPort, user }: Call,
    target: string,
    signal: AbortSignal,
  ): Promise<HostKey[] | undefined> {
    const source = settings.hostKeys;
    if (source === 'off' || user === undefined) return undefined; // who names no user is no ssh
    try {
      return await this.#parts.hostKeys.learn({ host: host.name, port: namedPort, target, source, aws }, signal);
    } catch (error) {
      if (!signal.aborted) this.#doWithout('host keys not learned', error);
      return undefined;
    }
  }

  #doWithout(event: string, error: unknown): void {
    const failure = asKeyholeError(error);
    // The tunnel's own to tell, unless it opens all the same (by an endpoint).
    if (this.#early !== undefined && notThere.has(failure.code)) return void this.#early.push([event, failure]);
    this.#log('error', event, { code: failure.code, why: failure.message });
    if (failure.code !== 'interrupted') this.#parts.recordFailure(this.#request, failure);
  }

  /** From `ready` on no frame is sent: what is written to the socket, ssh reads. */
  async #handOver(link: ControlLink, transport: Transport, stop: AbortSignal): Promise<Socket> {
    if (transport.errored) throw transport.errored;
    const lost = new AbortController();
    const onLost = (error: unknown) => lost.abort(error);
    const timer = this.#parts.clock.after(handoverTimeoutMs, () => onLost(notTaken(this.#request.host)));
    transport.once('error', onLost);
    try {
      link.send(FrameType.ready);
      this.#state = 'ready';
      // fd: nothing is sent before ssh's own first bytes, since the helper may still be reading (design.md 1, 1a).
      const taken =
        this.#request.handover === 'fd'
          ? link.firstBytes()
          : link.receive().then((frame) => releaseAfterGo(link, frame));
      return await within(AbortSignal.any([lost.signal, stop]), taken);
    } finally {
      timer.cancel();
      transport.off('error', onLost);
    }
  }

  async #relay(socket: Socket, transport: Transport, stop: AbortSignal): Promise<void> {
    this.#state = 'open';
    this.#log('info', 'tunnel open', { session: transport.sessionId });
    const peer = PeerSocket.find(this.#request.socketInode);
    await relay({
      stdin: socket,
      stdout: socket,
      transport,
      clock: this.#parts.clock,
      signal: stop,
      isOrphan: () => peer?.isGone() ?? false,
    });
  }

  #fail(link: ControlLink, error: unknown): void {
    const failure = asKeyholeError(error);
    this.#log('error', 'tunnel failed', { code: failure.code, why: failure.message });
    // A caller that went away knows; one whose daemon is stopped looks for another.
    if (failure.code === 'control-closed' || failure.code === 'interrupted') return;
    if (this.#state === 'opening') link.send(FrameType.error, reportOf(failure));
    // The helper shows and records what happens before; later there is nobody to show it to.
    else this.#parts.recordFailure(this.#request, failure);
  }
}

function releaseAfterGo(link: ControlLink, frame: Frame): Socket {
  expectFrame(frame, FrameType.go);
  return link.release();
}

/** `close` comes in bounded time (tunnel/transport.ts). */
async function closeTransport(transport: Transport | undefined): Promise<void> {
  if (transport === undefined || transport.closed) return;
  const closed = new Promise((resolve) => transport.once('close', resolve));
  transport.destroy();
  await closed;
}

function notTaken(host: string): KeyholeError {
  return new TransportError('not-taken', `nobody took the tunnel to ${host}`);
}

function asKeyholeError(error: unknown): KeyholeError {
  return error instanceof KeyholeError ? error : unexpectedError(error);
}

/** What no code of ours throws. */
export function unexpectedError(error: unknown): KeyholeError {
  return new KeyholeError('internal', `internal error: ${error instanceof Error ? error.message : String(error)}`, {
    hint: 'this is a bug of keyhole; please report it',
    cause: error,
  });
}
