// One tunnel of the daemon: from a caller's request over the open transport to the last byte. What goes wrong in it ends
// it and nothing else. The order of a connection's steps is this file's.
import type { Socket } from 'node:net';
import { withoutSecrets } from '../aws/caller.ts';
import type { AwsContext } from '../aws/context.ts';
import { loadSettings } from '../config.ts';
import { FrameType } from '../control/frame.ts';
import { type ControlLink, expectFrame } from '../control/link.ts';
import type { OpenRequest } from '../control/message.ts';
import { KeyholeError, reportOf, TransportError } from '../errors.ts';
import type { Log } from '../log.ts';
import { findPaths } from '../paths.ts';
import { type Settings, showDuration } from '../settings.ts';
import type { SessionNotes } from '../ssm/transport.ts';
import { type Host, parseHost, parsePort, parseUser } from '../target/host.ts';
import { awaitFirstByte } from '../tunnel/first-byte.ts';
import { openTunnel } from '../tunnel/open.ts';
import { relay } from '../tunnel/relay.ts';
import type { Transport, TransportStats } from '../tunnel/transport.ts';
import type { DaemonParts } from './parts.ts';

export interface TunnelStatus extends TransportStats {
  id: number;
  host: string;
  port: string;
  user: string | undefined;
  state: 'opening' | 'open' | 'closing';
  transport: 'ssm' | 'eice' | undefined;
  /** Wall time, ms since 1970. */
  since: number;
  /** The process that asked, ssh as a rule. */
  clientPid: number;
  sessionId: string | undefined;
}

/** ssh takes the socket over as soon as the helper has gone: at once, or never. */
const handoverTimeoutMs = 30_000;

export class Tunnel {
  readonly id: number;
  readonly #request: OpenRequest;
  readonly #parts: DaemonParts;
  readonly #log: Log;
  readonly #since: number;
  #state: TunnelStatus['state'] = 'opening';
  #transport: Transport | undefined;

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
      state: this.#state,
      transport: this.#transport?.kind,
      since: this.#since,
      clientPid: this.#request.caller.parentPid,
      sessionId: this.#transport?.sessionId,
      bytesSent: stats?.bytesSent ?? 0,
      bytesReceived: stats?.bytesReceived ?? 0,
      roundTripMs: stats?.roundTripMs,
      resumes: stats?.resumes ?? 0,
    };
  }

  /** Resolves when nothing is left of it. Never rejects: a failure is told to the caller and recorded. */
  async run(link: ControlLink, stop: AbortSignal): Promise<void> {
    const { host, port } = this.#request;
    this.#log('info', 'tunnel wanted', { host, port, user: this.#request.user, client: this.#request.caller.pid });
    try {
      const socket = await this.#open(link, stop);
      await this.#relay(socket, stop);
      this.#log('info', 'tunnel closed', { ...this.#transport?.stats() });
    } catch (error) {
      this.#fail(link, error);
    } finally {
      link.socket.destroySoon();
    }
  }

  /** All steps until ssh talks. Whatever was started is ended when one fails. */
  async #open(link: ControlLink, stop: AbortSignal): Promise<Socket> {
    const { request, settings, host, port, user } = this.#readRequest();
    link.send(FrameType.progress, { text: `opening ${host.name}`, deadlineMs: settings.deadlineMs });
    const { clock } = this.#parts;
    const deadline = new AbortController();
    const timer = clock.after(settings.deadlineMs, () => deadline.abort(overdue(host, settings.deadlineMs)));
    const signal = AbortSignal.any([link.closed, stop, deadline.signal]);
    try {
      const aws = await this.#resolveAws(link, host);
      const keyOffered = this.#offerKey(aws, settings, host, port, user);
      const transport = await openTunnel({
        target: host.instanceId,
        port,
        aws,
        settings,
        payloadMemory: this.#parts.payloadMemory,
        notes: this.#notes(aws, host),
        clock,
        log: this.#log,
        signal,
      });
      this.#transport = transport;
      await keyOffered.catch((error) => this.#log('error', 'no agent socket', { why: String(error) }));
      await awaitFirstByte(transport, {
        host: host.name,
        port,
        timeoutMs: settings.firstByteTimeoutMs,
        clock,
        signal,
      });
      timer.cancel();
      return await this.#handOver(link, transport, request.handover);
    } finally {
      timer.cancel();
    }
  }

  #readRequest() {
    const request = this.#request;
    const { env } = request.caller;
    const settings = loadSettings({ flags: request.flags, env, file: findPaths(env).configFile });
    const user = request.user === undefined ? undefined : parseUser(request.user);
    return { request, settings, host: parseHost(request.host), port: parsePort(request.port), user };
  }

  #resolveAws(link: ControlLink, host: Host): Promise<AwsContext> {
    const wanted = { profile: host.profile, region: host.region };
    return this.#parts.aws.open(this.#request.caller, wanted, async () => {
      link.send(FrameType.resolve, wanted);
      return expectFrame(await link.receive(), FrameType.resolved);
    });
  }

  #notes({ region, id }: AwsContext, { instanceId, ...host }: Host): SessionNotes {
    const { ledger } = this.#parts;
    const { env, cwd } = this.#request.caller;
    const wanted = { profile: host.profile, region: host.region };
    const note = { target: instanceId, region, context: id, wanted, env: withoutSecrets(env), cwd };
    return {
      started: (sessionId) => ledger.start({ sessionId, ...note }),
      ended: (sessionId) => ledger.end(sessionId),
    };
  }

  /** The public key goes to the instance while the tunnel opens; the target's agent socket is there before `ready`. */
  async #offerKey(
    aws: AwsContext,
    settings: Settings,
    host: Host,
    port: number,
    user: string | undefined,
  ): Promise<void> {
    if (user === undefined) return;
    const { agents, keyring, keyPush } = this.#parts;
    const pusher = settings.push === 'off' ? undefined : aws.pusher(host.instanceId);
    const push = pusher && { target: `${aws.id}/${host.instanceId}`, user, pusher };
    if (push !== undefined) keyPush.begin({ ...push, publicKey: keyring.current().publicLine });
    const upstream = this.#request.upstreamAgent ?? settings.agentUpstream;
    await agents?.serve({ host: host.name, port, user, push, upstream, allowUnbound: settings.agentAllowUnbound });
  }

  async #handOver(link: ControlLink, transport: Transport, how: 'fd' | 'relay'): Promise<Socket> {
    // Whoever wrote to the transport's other side is told by the relay; until then nobody listens.
    const lost = Promise.withResolvers<never>();
    const onLost = (error: unknown) => lost.reject(error);
    const timer = this.#parts.clock.after(handoverTimeoutMs, () => onLost(notTaken(this.#request.host)));
    transport.once('error', onLost);
    try {
      link.send(FrameType.ready);
      // fd: nothing is sent before ssh's own first bytes, since the helper may still be reading (design.md 1, 1a).
      const taken = how === 'fd' ? link.firstBytes() : link.receive().then((frame) => releaseAfterGo(link, frame));
      taken.catch(() => {}); // when `lost` was first
      return await Promise.race([taken, lost.promise]);
    } catch (error) {
      transport.destroy();
      throw error;
    } finally {
      timer.cancel();
      transport.off('error', onLost);
      lost.promise.catch(() => {});
    }
  }

  async #relay(socket: Socket, stop: AbortSignal): Promise<void> {
    this.#state = 'open';
    this.#log('info', 'tunnel open', { session: this.#transport?.sessionId });
    const { parentPid } = this.#request.caller;
    await relay({
      stdin: socket,
      stdout: socket,
      transport: this.#transport!,
      clock: this.#parts.clock,
      signal: stop,
      isOrphan: () => !isAlive(parentPid),
    });
    this.#state = 'closing';
  }

  #fail(link: ControlLink, error: unknown): void {
    const failure = error instanceof KeyholeError ? error : unexpected(error);
    this.#log('error', 'tunnel failed', { code: failure.code, why: failure.message });
    // A caller that went away knows.
    if (failure.code === 'control-closed' || failure.code === 'interrupted') return;
    if (this.#state === 'opening') link.send(FrameType.error, reportOf(failure));
    // The helper shows and records what happens before; later there is nobody to show it to.
    else this.#parts.recordFailure(this.#request, failure);
  }
}

function releaseAfterGo(link: ControlLink, frame: Awaited<ReturnType<ControlLink['receive']>>): Socket {
  expectFrame(frame, FrameType.go);
  return link.release();
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function overdue(host: Host, deadlineMs: number): KeyholeError {
  return new TransportError('deadline', `no connection to ${host.name} within ${showDuration(deadlineMs)}`, {
    hint: 'the deadline can be raised with KEYHOLE_DEADLINE or deadline in the configuration file',
  });
}

function notTaken(host: string): KeyholeError {
  return new TransportError('not-taken', `nobody took the tunnel to ${host}`);
}

function unexpected(error: unknown): KeyholeError {
  return new KeyholeError('internal', `internal error: ${error instanceof Error ? error.message : String(error)}`, {
    hint: 'this is a bug of keyhole; please report it',
    cause: error,
  });
}
