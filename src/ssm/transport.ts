// A tunnel over an SSM session: joins the pure channel, the websocket and the session at AWS, and keeps the tunnel alive
// over lost sockets (protocol.md section 7). It is the only place in ssm/ that sets timers or moves bytes.
//
// Its life: opening → open ⇄ cut → ending → gone. Whatever happens, the session at AWS is ended before `close`.
import { randomUUID } from 'node:crypto';
import { Duplex } from 'node:stream';
import type { StartSessionRequest } from '../aws/ssm-api.ts';
import { type Clock, sleep, type Timer } from '../clock.ts';
import { type KeyholeError, TransportError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Transport, TransportStats } from '../tunnel/transport.ts';
import { type ChannelEvent, DataChannel } from './channel.ts';
import {
  asKeyholeError,
  closedSilently,
  givenUp,
  isWorthRetrying,
  notResumable,
  printable,
  tokenRefused,
} from './failures.ts';
import type { GatewaySocket } from './gateway.ts';
import { referencePayloadBytes } from './outgoing.ts';
import { Session, type SessionOptions } from './session.ts';

export interface SsmTransportOptions extends SessionOptions {
  request: StartSessionRequest;
  clock: Clock;
  log: Log;
  maxPayloadBytes: number;
  maxMessagesPerSecond: number;
  /** How long a cut session is tried to be resumed. */
  resumeTimeoutMs: number;
  payloadMemory: PayloadMemory;
  notes?: SessionNotes;
}

/** Told of every session that exists at AWS and of its end, so that none is forgotten when the process is killed. */
export interface SessionNotes {
  started(sessionId: string): void;
  /** Only where the end was confirmed: by the agent, or by AWS's answer to TerminateSession. */
  ended(sessionId: string): void;
}

/** What was learned about a region's gateway (outgoing.ts, payload size). */
export interface PayloadMemory {
  refusesLargePayloads(region: string): boolean;
  rememberRefusal(region: string): void;
}

/** Bytes a producer may have waiting here before it is made to wait. */
const backlogBytes = 256 * 1024;
/**
 * Bytes for a reader that doesn't take them. Above it the websocket is closed, so that the gateway pauses the agent
 * (protocol.md 4.5, 6.1), and the session is resumed when the reader is back. Not acknowledging instead would be worse: the
 * agent resends one message per 100 ms only, and forgets what exceeds its buffer (4.4).
 */
const unreadBytes = 16 * 2 ** 20;
/** Bounds of a close (6.1): for what was taken to be acknowledged, then for AWS to confirm the end. */
const drainTimeoutMs = 1_900;
const terminateTimeoutMs = 900;
/** First pause, longest pause between two tries to resume. */
const resumeBackoffMs = [200, 5_000] as const;
/** Sockets that AWS closes without having sent anything, while the session is being opened. */
const maxSilentCloses = 3;

/**
 * Starts a session and resolves when its data channel is open.
 * @throws KeyholeError when it can't; the session, if there was one, has been ended then. `signal` gives up.
 */
export async function openSsmTransport(options: SsmTransportOptions, signal: AbortSignal): Promise<SsmTransport> {
  const session = await Session.start(options, options.request, signal);
  options.notes?.started(session.id);
  options.log('info', 'session started', { session: session.id, target: options.request.target });
  const transport = new SsmTransport(options, session);
  await transport.open(signal);
  return transport;
}

export class SsmTransport extends Duplex implements Transport {
  readonly kind = 'ssm';
  readonly #options: SsmTransportOptions;
  readonly #session: Session;
  readonly #channel: DataChannel;
  #socket: GatewaySocket | undefined;
  #phase: 'opening' | 'open' | 'ending' | 'gone' = 'opening';
  #opened = Promise.withResolvers<void>();
  #timer: Timer | undefined;
  #pumpQueued = false;
  #waitingWriter: (() => void) | undefined;
  /** Set while the websocket is closed because the reader takes nothing. */
  #detached = false;
  /** Aborts what waits: dials, resumes, pauses. */
  readonly #giveUp = new AbortController();
  #onSettled: (() => void) | undefined;
  #end: Promise<void> | undefined;
  #lastFailure: KeyholeError | undefined;
  #heardOnSocket = false;
  #silentCloses = 0;
  #stats: TransportStats = { bytesSent: 0, bytesReceived: 0, roundTripMs: undefined, resumes: 0 };

  /** @internal Use openSsmTransport. */
  constructor(options: SsmTransportOptions, session: Session) {
    // No half-close (6.1): when the target's bytes have ended, so has the way to it.
    super({ allowHalfOpen: false, readableHighWaterMark: 64 * 1024, writableHighWaterMark: 64 * 1024 });
    this.#options = options;
    this.#session = session;
    const { clock, payloadMemory, api } = options;
    this.#channel = new DataChannel({
      clientVersion: options.clientVersion,
      maxPayloadBytes: payloadMemory.refusesLargePayloads(api.region) ? referencePayloadBytes : options.maxPayloadBytes,
      maxMessagesPerSecond: options.maxMessagesPerSecond,
      epoch: clock.wallTime() - clock.now(),
      uuid: randomUUID,
    });
  }

  get sessionId(): string {
    return this.#session.id;
  }

  stats(): TransportStats {
    return { ...this.#stats, roundTripMs: this.#channel.roundTripMs };
  }

  /** @internal */
  async open(signal: AbortSignal): Promise<void> {
    const abort = () => this.destroy(givenUp(signal, this.#options.request.target, this.#lastFailure));
    // A failure has to reach open() and nobody else while there is no reader yet.
    const onError = (error: Error) => this.#opened.reject(error);
    this.on('error', onError);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    try {
      void this.#connect(undefined);
      await this.#opened.promise;
    } catch (error) {
      if (!this.closed) await new Promise((resolve) => this.once('close', resolve));
      throw error;
    } finally {
      signal.removeEventListener('abort', abort);
      this.off('error', onError);
    }
  }

  override _read(): void {
    if (!this.#detached || this.#phase !== 'open') return;
    this.#detached = false;
    void this.#connect(undefined);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#stats.bytesSent += chunk.length;
    this.#channel.write(chunk);
    this.#waitingWriter = done;
    this.#pump();
  }

  /** There is no half-close (6.1): what was taken is delivered, then the session is ended. */
  override _final(done: (error?: Error | null) => void): void {
    void this.#endSession(drainTimeoutMs).then(() => {
      this.push(null);
      done();
    });
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    void this.#endSession(terminateTimeoutMs).finally(() => {
      this.#opened.reject(error ?? new TransportError('closed', 'the tunnel was closed'));
      done(error);
    });
  }

  /** Dials, resuming the session first unless this is its first socket, and again until it holds or can't. */
  async #connect(closeCode: number | undefined): Promise<void> {
    const { clock, resumeTimeoutMs, log } = this.#options;
    const until = clock.now() + resumeTimeoutMs;
    let pause: number = resumeBackoffMs[0];
    for (let attempt = 0; this.#phase === 'opening' || this.#phase === 'open'; attempt++) {
      try {
        if (attempt > 0 || this.#phase === 'open' || this.#silentCloses > 0)
          await this.#session.resume(this.#giveUp.signal);
        const socket = await this.#session.dial(this.#giveUp.signal);
        this.#attach(socket, closeCode);
        return;
      } catch (error) {
        const failure = asKeyholeError(error);
        this.#lastFailure = failure;
        log('info', 'connect failed', { session: this.#session.id, code: failure.code, why: failure.message });
        if (!isWorthRetrying(failure) || clock.now() + pause > until) return void this.destroy(failure);
        await sleep(clock, pause * (0.5 + Math.random()), this.#giveUp.signal);
        pause = Math.min(pause * 2, resumeBackoffMs[1]);
      }
    }
  }

  #attach(socket: GatewaySocket, closeCode: number | undefined): void {
    if (this.#phase !== 'opening' && this.#phase !== 'open') {
      socket.destroy();
      return;
    }
    this.#socket = socket;
    this.#heardOnSocket = false;
    if (this.#channel.reconnected(closeCode) === 'payload-refused') {
      this.#options.log('info', 'large payloads refused', { region: this.#options.api.region });
      this.#options.payloadMemory.rememberRefusal(this.#options.api.region);
    }
    socket.start({
      message: (bytes) => this.#receive(bytes),
      drain: () => this.#pump(),
      close: (end) => this.#lost(socket, end),
    });
    this.#pump();
  }

  #receive(bytes: Buffer): void {
    this.#heardOnSocket = true;
    for (const event of this.#channel.receive(bytes, this.#options.clock.now())) this.#handle(event);
    // One pump for all messages of this turn: their acknowledgements leave in one system call.
    if (this.#pumpQueued) return;
    this.#pumpQueued = true;
    process.nextTick(() => {
      this.#pumpQueued = false;
      this.#pump();
    });
  }

  #handle(event: ChannelEvent): void {
    const { log, request } = this.#options;
    switch (event.type) {
      case 'output':
        this.#stats.bytesReceived += event.bytes.length;
        if (!this.readableEnded && !this.destroyed) this.push(event.bytes);
        if (this.readableLength > unreadBytes) this.#detach();
        return;
      case 'opened':
        log('info', 'channel open', { session: this.#session.id, agent: event.agentVersion });
        this.#phase = 'open';
        this.#opened.resolve();
        return;
      case 'refused':
        // The answer has to reach the agent first; it then closes the channel by itself.
        this.#pump();
        this.destroy(event.error);
        return;
      case 'closed':
        this.#closedByPeer(event, request.target);
        return;
      case 'dropped':
        log('debug', 'dropped', { session: this.#session.id, why: event.why });
    }
  }

  #closedByPeer({ output, missing }: { output: string; missing: boolean }, target: string): void {
    const text = printable(output);
    this.#options.log('info', 'channel closed', { session: this.#session.id, output: text, missing });
    this.#onSettled?.();
    if (this.#phase === 'ending' || this.#phase === 'gone') return;
    if (this.#stats.bytesReceived === 0) {
      this.destroy(closedSilently(target, text));
    } else if (missing) {
      this.destroy(new TransportError('stream-lost', `the session to ${target} ended with bytes still missing`));
    } else {
      this.push(null);
      this.#pump(); // lets a waiting writer go
    }
  }

  /** Sends what is due, as far as the socket has room, in one system call. */
  #pump(): void {
    const socket = this.#socket;
    const now = this.#options.clock.now();
    if (socket?.isOpen) {
      socket.cork();
      while (socket.hasRoom) {
        const message = this.#channel.next(now);
        if (message === undefined) break;
        socket.send(message);
      }
      socket.uncork();
    }
    if (this.#channel.drained) this.#onSettled?.();
    if (this.#channel.backlogBytes <= backlogBytes || this.#channel.state === 'closed') {
      const done = this.#waitingWriter;
      this.#waitingWriter = undefined;
      done?.();
    }
    this.#schedule(socket, now);
  }

  #schedule(socket: GatewaySocket | undefined, now: number): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (socket === undefined || !socket.isOpen || !socket.hasRoom) return; // attach or drain will pump
    const deadline = this.#channel.deadline(now);
    if (deadline !== undefined)
      this.#timer = this.#options.clock.after(Math.max(0, deadline - now), () => this.#pump());
  }

  /** The socket is gone. Unless the session is at its end, it is resumed: also after "1000 Bye" (7, trap 3). */
  #lost(socket: GatewaySocket, { code, reason }: { code: number | undefined; reason: string }): void {
    if (socket !== this.#socket) return;
    this.#socket = undefined;
    this.#timer?.cancel();
    if (this.#phase === 'ending' || this.#phase === 'gone') return void this.#onSettled?.();
    if (this.#detached) return;
    if (this.#channel.state === 'closed') return;
    this.#options.log('info', 'socket lost', { session: this.#session.id, code, reason: printable(reason) });
    if (this.#phase === 'opening' && !this.#heardOnSocket) {
      this.#silentCloses += 1;
      if (this.#silentCloses >= maxSilentCloses) return void this.destroy(tokenRefused(code, printable(reason)));
    }
    if (!this.#session.canResume) return void this.destroy(notResumable());
    if (this.#phase === 'open') this.#stats.resumes += 1;
    void this.#connect(code);
  }

  #detach(): void {
    if (this.#phase !== 'open' || this.#detached || !this.#session.canResume) return;
    this.#options.log('info', 'reader is slow, detached', { session: this.#session.id });
    this.#detached = true;
    this.#socket?.close();
    this.#socket = undefined;
  }

  /** The recommended close (6.1), bounded; afterwards nothing is left here or at AWS. Once, and never throws. */
  #endSession(settleTimeoutMs: number): Promise<void> {
    this.#end ??= this.#endOnce(settleTimeoutMs);
    return this.#end;
  }

  async #endOnce(settleTimeoutMs: number): Promise<void> {
    const wasOpen = this.#phase === 'open';
    this.#phase = 'ending';
    this.#giveUp.abort();
    if (wasOpen && this.#socket?.isOpen && this.#channel.state === 'open') {
      this.#channel.terminate();
      this.#pump();
      await this.#settled(settleTimeoutMs);
    }
    const confirmed = this.#channel.state === 'closed' || (wasOpen && this.#channel.drained);
    this.#timer?.cancel();
    this.#socket?.close();
    if (confirmed || (await this.#terminateByApi())) this.#options.notes?.ended(this.#session.id);
    this.#phase = 'gone';
    this.#socket = undefined;
    this.#options.log('info', 'session ended', { session: this.#session.id });
  }

  /** Resolves when the channel is drained or closed, the socket lost, or the time over. */
  #settled(timeoutMs: number): Promise<void> {
    if (this.#channel.drained || this.#channel.state === 'closed') return Promise.resolve();
    return new Promise((resolve) => {
      const timer = this.#options.clock.after(timeoutMs, resolve);
      this.#onSettled = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  async #terminateByApi(): Promise<boolean> {
    const { clock, log } = this.#options;
    const bound = new AbortController();
    const timer = clock.after(terminateTimeoutMs, () => bound.abort());
    try {
      await this.#session.terminate(bound.signal);
      return true;
    } catch (error) {
      // The session ends by itself when it has been idle for long enough.
      log('error', 'TerminateSession failed', { session: this.#session.id, why: asKeyholeError(error).message });
      return false;
    } finally {
      timer.cancel();
    }
  }
}
