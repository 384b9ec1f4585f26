// A tunnel over an SSM session: joins the pure channel, the websocket and the session at AWS, and keeps the tunnel alive
// over lost sockets (protocol.md section 7). It is the only place in ssm/ that sets timers or moves bytes.
//
// Its life: opening → open ⇄ cut → ending → gone. Whatever happens, the session at AWS is ended before `close`.
import { randomUUID } from 'node:crypto';
import { Duplex } from 'node:stream';
import { type KeyholeError, TransportError } from '../errors.ts';
import type { Watching } from '../network-watch.ts';
import { printable } from '../printable.ts';
import type { Transport, TransportStats } from '../tunnel/transport.ts';
import { Alarm } from './alarm.ts';
import { type ChannelEvent, DataChannel } from './channel.ts';
import { Delivery } from './delivery.ts';
import {
  asKeyholeError,
  closedLocally,
  closedSilently,
  connectionLost,
  givenUp,
  notResumable,
  readerStalled,
  tokenRefused,
  undelivered,
} from './failures.ts';
import type { GatewaySocket } from './gateway.ts';
import { understandsTerminateFlag } from './handshake.ts';
import { closedNormally, referencePayloadBytes } from './outgoing.ts';
import { Redial } from './redial.ts';
import { Session } from './session.ts';
import type { SsmTransportOptions } from './transport-options.ts';

/**
 * Bytes for a reader that doesn't take them. Above it the websocket is closed, so that the gateway pauses the agent
 * (protocol.md 4.5, 6.1), and the session is resumed when the reader is back. Not acknowledging instead would be worse: the
 * agent resends one message per 100 ms only, and forgets what exceeds its buffer (4.4).
 */
const unreadBytes = 8 * 2 ** 20;
/** What an unread piece takes besides its bytes. */
const pieceBytes = 128;
/** Bounds of a close (6.1): for what was taken to be acknowledged, then for AWS to confirm the end. Below 3 s in all. */
const drainTimeoutMs = 1_700;
const terminateTimeoutMs = 900;
/** A socket that lasted for so long was good: its loss is a new cut and not the same trouble. */
const goodSocketMs = 10_000;
/** How long AWS may be silent although something waits for its answer, and how late a sign of life may be then. */
const suspiciousSilenceMs = 8_000;
const signOfLifeMs = 4_000;
/** Sockets that AWS closes without having sent anything, while the session is being opened. */
const maxSilentCloses = 3;

/**
 * Starts a session and resolves when its data channel is open.
 * @throws KeyholeError when it can't; the session, if there was one, has been ended then. `signal` gives up.
 */
export async function openSsmTransport(options: SsmTransportOptions, signal: AbortSignal): Promise<SsmTransport> {
  const session = await Session.start(options, options.request, signal);
  const transport = new SsmTransport(options, session);
  await transport.open(signal);
  return transport;
}

/** Has an event of its own, `connect-error`: the agent's flag (protocol.md 6.3). */
export class SsmTransport extends Duplex implements Transport {
  readonly kind = 'ssm';
  readonly #options: SsmTransportOptions;
  readonly #session: Session;
  readonly #channel: DataChannel;
  readonly #alarm: Alarm;
  readonly #delivery = new Delivery((bytes) => this.#deliver(bytes));
  #socket: GatewaySocket | undefined;
  #phase: 'opening' | 'open' | 'ending' | 'gone' = 'opening';
  #onOpen: (() => void) | undefined;
  #waitingWriter: ((error?: Error) => void) | undefined;
  /** Pieces handed to the reader since it last asked for more. */
  #unreadPieces = 0;
  /** Set while the websocket is closed because the reader takes nothing. */
  #detached = false;
  /** The end of the socket closed for that. */
  #leaving: Promise<unknown> | undefined;
  /** Aborts what waits: dials, resumes, pauses. */
  readonly #giveUp = new AbortController();
  readonly #redial: Redial;
  readonly #watching: Watching;
  /** Wall time since when there is no socket. */
  #cutSince: number | undefined;
  #attachedAt: number | undefined;
  #onSettled: (() => void) | undefined;
  /** Set once end() took the way of 6.1, so that it is not gone twice. */
  #hasDrained = false;
  #end: Promise<void> | undefined;
  #heardOnSocket = false;
  #silentCloses = 0;
  #stats: TransportStats = { bytesSent: 0, bytesReceived: 0, roundTripMs: undefined, resumes: 0 };

  /** @internal Use openSsmTransport. */
  constructor(options: SsmTransportOptions, session: Session) {
    // No half-close (6.1): when the target's bytes have ended, so has the way to it. How much a producer may write ahead, the
    // channel decides (hasRoom); what would wait in front of it would only make all behind it wait.
    super({ allowHalfOpen: false, readableHighWaterMark: 64 * 1024, writableHighWaterMark: 1 });
    this.#options = options;
    this.#session = session;
    const { clock, log, payloadMemory, api, networkWatch, notes, resumeTimeoutMs } = options;
    this.#alarm = new Alarm(clock, () => this.#pump());
    const onNeedsUser = (failure: KeyholeError) => notes?.stuck?.(failure);
    const { target } = options.request;
    this.#redial = new Redial({ session, clock, log, target, resumeTimeoutMs, onNeedsUser });
    this.#watching = networkWatch.add({ doubt: (why) => this.#doubt(why), hope: () => this.#redial.hurry() });
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

  get agentVersion(): string {
    return this.#channel.agentVersion;
  }

  stats(): TransportStats {
    const { code, message, hint } = this.#redial.failure ?? {};
    const interrupted = this.#cutSince !== undefined && { since: this.#cutSince, code, message, hint };
    return { ...this.#stats, roundTripMs: this.#channel.roundTripMs, ...(interrupted && { interrupted }) };
  }

  /** @internal */
  async open(signal: AbortSignal): Promise<void> {
    const abort = () => this.destroy(givenUp(signal, this.#options.request.target, this.#redial.failure));
    // A failure has to reach open() and nobody else while there is no reader yet.
    const ignore = () => {};
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const fail = () => reject(this.errored ?? closedLocally());
    this.on('error', ignore).on('close', fail);
    this.#onOpen = resolve;
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    void this.#connect(undefined);
    try {
      await promise;
    } finally {
      signal.removeEventListener('abort', abort);
      this.off('error', ignore).off('close', fail);
    }
  }

  override _read(): void {
    this.#unreadPieces = 0;
    this.#reattach();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#options.networkWatch.glance();
    this.#stats.bytesSent += chunk.length;
    this.#channel.write(chunk);
    this.#waitingWriter = done;
    this.#pump();
  }

  /** There is no half-close (6.1): what was taken is delivered, over a new socket if need be, then the session is ended. */
  override _final(done: (error?: Error | null) => void): void {
    this.#hasDrained = true;
    this.#channel.terminate();
    this.#reattach();
    this.#pump();
    void this.#settled(drainTimeoutMs)
      .then(() => this.#endSession())
      .then(() => {
        const { delivered, state } = this.#channel;
        this.push(null);
        done(delivered || state === 'closed' ? null : undelivered(this.#options.request.target));
      });
  }

  /** What has come goes first. */
  override destroy(error?: Error): this {
    if (!this.destroyed) this.#delivery.flush();
    return super.destroy(error);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#onSettled?.();
    void this.#endSession().then(() => {
      const writer = this.#waitingWriter;
      this.#waitingWriter = undefined;
      writer?.(error ?? closedLocally());
      done(error);
    });
  }

  get #isLive(): boolean {
    return this.#phase === 'opening' || this.#phase === 'open';
  }

  /** A socket for the session; without one the tunnel ends. */
  async #connect(closeCode: number | undefined): Promise<void> {
    const { signal } = this.#giveUp;
    const isFirst = this.#attachedAt === undefined;
    try {
      const socket = isFirst ? this.#redial.first(signal) : this.#redial.next(this.#phase === 'open', signal);
      this.#attach(await socket, closeCode);
    } catch (error) {
      if (this.#isLive) this.destroy(asKeyholeError(error));
    }
  }

  /** The network may be another one than before. */
  #doubt(why: string): void {
    this.#options.log('info', 'network in doubt', { session: this.#session.id, why });
    this.#options.api.forgetConnections();
    this.#socket?.probe(signOfLifeMs);
    this.#redial.startOver();
  }

  #attach(socket: GatewaySocket, closeCode: number | undefined): void {
    if (!this.#isLive) {
      socket.destroy();
      return;
    }
    this.#socket = socket;
    this.#attachedAt = this.#options.clock.now();
    this.#cutSince = undefined;
    this.#watching.seek(false);
    this.#watching.reached();
    if (this.#phase === 'open') this.#stats.resumes += 1;
    this.#heardOnSocket = false;
    if (this.#channel.reconnected(closeCode) === 'payload-refused') {
      this.#options.log('info', 'large payloads refused', { region: this.#options.api.region });
      this.#options.payloadMemory.rememberRefusal(this.#options.api.region);
    }
    socket.start({
      message: (bytes) => {
        if (socket === this.#socket) this.#receive(bytes); // else unacknowledged, so it comes again
      },
      // One pump for all: their acknowledgements leave in one system call.
      read: () => this.#pump(),
      drain: () => this.#pump(),
      close: (end) => this.#lost(socket, end),
    });
    this.#pump();
  }

  #receive(bytes: Buffer): void {
    this.#heardOnSocket = true;
    const now = this.#options.clock.now();
    for (const event of this.#channel.receive(bytes, now)) this.#handle(event, now);
  }

  #handle(event: ChannelEvent, now: number): void {
    const { log, request } = this.#options;
    switch (event.type) {
      case 'output':
        this.#stats.bytesReceived += event.bytes.length;
        this.#delivery.take(event.bytes, now);
        return;
      case 'opened':
        log('info', 'channel open', { session: this.#session.id, agent: event.agentVersion });
        this.#phase = 'open';
        this.#redial.recovered();
        this.#onOpen?.();
        return;
      case 'refused':
        // The answer has to reach the agent first; it then closes the channel by itself.
        this.#pump();
        this.destroy(event.error);
        return;
      case 'closed':
        this.#closedByPeer(event, request.target);
        return;
      case 'connect-error':
        this.emit('connect-error');
        return;
      case 'dropped':
        log('debug', 'dropped', { session: this.#session.id, why: event.why });
    }
  }

  #deliver(bytes: Buffer): void {
    if (!this.#isLive) return; // the readable side has ended
    this.#unreadPieces += 1;
    this.push(bytes);
    // What it takes to know of a piece is in memory too.
    if (this.readableLength + this.#unreadPieces * pieceBytes > unreadBytes) this.#detach();
  }

  #closedByPeer({ output, missing }: { output: string; missing: boolean }, target: string): void {
    this.#delivery.flush();
    const text = printable(output);
    this.#options.log('info', 'channel closed', { session: this.#session.id, output: text, missing });
    this.#onSettled?.();
    if (!this.#isLive || this.writableEnded) return;
    void this.#socket?.close(); // also where the reader leaves what is left unread for long
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
    let isDue = now >= this.#delivery.dueAt;
    if (socket?.isOpen) {
      // What is in flight is acknowledged, and what the agent is sent again and again gets no answer on a dead path.
      if (this.#channel.inFlightBytes > 0 && socket.silentMs > suspiciousSilenceMs) socket.probe(signOfLifeMs);
      isDue = this.#send(socket, now) || isDue; // acknowledgements, as a rule: one timer does for both
    }
    if (isDue) this.#delivery.flush();
    if (this.#channel.drained) this.#onSettled?.();
    if (this.#channel.hasRoom || this.#channel.state === 'closed') {
      const done = this.#waitingWriter;
      this.#waitingWriter = undefined;
      done?.();
    }
    this.#schedule(now);
  }

  /** @returns whether there was anything to send */
  #send(socket: GatewaySocket, now: number): boolean {
    let message = socket.hasRoom ? this.#channel.next(now) : undefined;
    if (message === undefined) return false;
    socket.cork();
    for (; message !== undefined; message = socket.hasRoom ? this.#channel.next(now) : undefined) socket.send(message);
    socket.uncork();
    return true;
  }

  #schedule(now: number): void {
    // Without a socket or room, attach or drain will pump.
    const toSend = this.#socket?.isOpen && this.#socket.hasRoom ? this.#channel.deadline(now) : undefined;
    this.#alarm.set(Math.min(toSend ?? Number.POSITIVE_INFINITY, this.#delivery.dueAt));
  }

  /** The socket is gone. Unless the session is at its end, it is resumed: also after "1000 Bye" (7, trap 3). */
  #lost(socket: GatewaySocket, { code, reason }: { code: number | undefined; reason: string }): void {
    if (socket !== this.#socket) return;
    this.#socket = undefined;
    this.#delivery.flush();
    this.#alarm.cancel();
    if (!this.#isLive) return void this.#onSettled?.();
    if (this.#channel.state === 'closed') return;
    const failure = connectionLost(code, printable(reason));
    this.#options.log('info', 'socket lost', { session: this.#session.id, code, reason: printable(reason) });
    if (this.#phase === 'opening' && !this.#heardOnSocket) {
      this.#silentCloses += 1;
      if (this.#silentCloses >= maxSilentCloses) return void this.destroy(tokenRefused(code, printable(reason)));
    }
    if (!this.#session.canResume) return void this.destroy(notResumable());
    const { clock, api } = this.#options;
    const wasGood = clock.now() - this.#attachedAt! >= goodSocketMs;
    if (wasGood) this.#redial.recovered();
    this.#redial.lost(failure);
    // Nobody said goodbye: what other connections there are to AWS may be dead too.
    if (code === undefined) api.forgetConnections();
    this.#reconnect(code);
  }

  #reconnect(closeCode: number | undefined): void {
    this.#cutSince = this.#options.clock.wallTime();
    this.#watching.seek(true);
    void this.#connect(closeCode);
  }

  #detach(): void {
    if (this.#detached) return;
    if (this.#phase !== 'open' || this.writableEnded || !this.#session.canResume) {
      this.destroy(readerStalled(this.#options.request.target));
      return;
    }
    this.#options.log('info', 'reader is slow, detached', { session: this.#session.id });
    this.#detached = true;
    this.#leaving = this.#socket?.close();
    this.#socket = undefined;
  }

  #reattach(): void {
    if (!this.#detached || this.#phase !== 'open') return;
    this.#detached = false;
    this.#redial.recovered();
    this.#reconnect(closedNormally);
  }

  /** Afterwards nothing is left here or at AWS. Once, bounded, and never throws. */
  #endSession(): Promise<void> {
    this.#end ??= this.#endOnce();
    return this.#end;
  }

  async #endOnce(): Promise<void> {
    const wasOpen = this.#phase === 'open';
    this.#delivery.flush();
    this.#phase = 'ending';
    this.#giveUp.abort();
    this.#watching.end();
    // The agent is asked first (6.1); on the way of end() that has been done and waited for.
    if (wasOpen && !this.#hasDrained) {
      this.#channel.terminate();
      this.#pump();
      if (this.#socket?.isOpen) await this.#settled(terminateTimeoutMs);
    }
    const { state, drained, agentVersion } = this.#channel;
    const isEnded = state === 'closed' || (wasOpen && drained && understandsTerminateFlag(agentVersion));
    const socket = this.#socket;
    this.#socket = undefined;
    this.#alarm.cancel();
    const [isConfirmed] = await Promise.all([isEnded || this.#terminateByApi(), socket?.close(), this.#leaving]);
    if (isConfirmed) this.#options.notes?.ended(this.#session.id);
    this.#phase = 'gone';
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
    try {
      await this.#session.terminate(terminateTimeoutMs);
      return true;
    } catch (error) {
      // The session ends by itself when it has been idle for long enough.
      const why = asKeyholeError(error).message;
      this.#options.log('error', 'TerminateSession failed', { session: this.#session.id, why });
      return false;
    }
  }
}
