// Streams over one multiplexed session: joins the pure Mux with the transport that carries its frames, owns its timer, and
// keeps memory bounded. Cuts are the transport's to survive; when it is gone, so are all streams.
import { Duplex } from 'node:stream';
import type { Clock } from '../../clock.ts';
import { type KeyholeError, TransportError } from '../../errors.ts';
import type { Log } from '../../log.ts';
import { Alarm } from '../alarm.ts';
import { asKeyholeError } from '../failures.ts';
import { wantsKeepAlive } from '../handshake.ts';
import type { SsmTransport } from '../transport.ts';
import { Mux, type MuxEvent } from './mux.ts';

/** Bytes of one stream that may wait for their turn before its writer is made to wait. */
const streamBacklogBytes = 64 * 1024;
/** Unread bytes of the only stream at which the session is not read any more: nobody else suffers from that. */
const unreadAloneBytes = 4 * 2 ** 20;
/**
 * Unread bytes of all streams together. smux version 1 can't stop one stream (protocol.md 6.3), and stopping the session
 * would stop all; so the one with the most is ended.
 */
const unreadBytes = 64 * 2 ** 20;
/** How much may come before that is looked at again. */
const lookEveryBytes = 256 * 1024;
/** For agents that end a session that is silent (5.3). */
const keepAliveMs = 10_000;
/** For all others: below AWS's shortest idle timeout, since connections that are open are in use. */
const signOfLifeMs = 45_000;
/** A write that the agent does not take for so long: the session had better not be given more streams. */
const stuckMs = 2_000;

export interface MuxLinkOptions {
  transport: SsmTransport;
  clientVersion: string;
  clock: Clock;
  log: Log;
  /** The number of streams has changed. */
  onChange(): void;
}

export class MuxLink {
  readonly transport: SsmTransport;
  readonly #options: MuxLinkOptions;
  readonly #mux: Mux;
  readonly #streams = new Map<number, MuxStream>();
  readonly #alarm: Alarm;
  #unlooked = 0;
  #failure: KeyholeError | undefined;
  /** Since when the transport takes nothing. */
  #fullSince: number | undefined;

  constructor(options: MuxLinkOptions) {
    this.#options = options;
    const { transport, clock, clientVersion } = options;
    this.transport = transport;
    this.#alarm = new Alarm(clock, () => this.#pump());
    const isWanted = wantsKeepAlive(transport.agentVersion, clientVersion);
    this.#mux = new Mux(isWanted ? keepAliveMs : signOfLifeMs, clock.now());
    transport.on('data', (bytes: Buffer) => this.#receive(bytes));
    transport.on('connect-error', () => this.#mux.connectError());
    transport.on('drain', () => {
      this.#fullSince = undefined;
      this.#pump();
    });
    transport.on('error', (error) => this.#fail(inOurWords(asKeyholeError(error))));
    transport.on('close', () => this.#fail(ended()));
  }

  /** Streams that are open. */
  get size(): number {
    return this.#streams.size;
  }

  /** No stream can be opened any more. */
  get isGone(): boolean {
    return this.#failure !== undefined || this.transport.writableEnded || this.transport.destroyed;
  }

  /** Whether a new stream would have to share with one that holds up the session, or has to yield to others. */
  get isStrained(): boolean {
    const now = this.#options.clock.now();
    if (this.#fullSince !== undefined && now - this.#fullSince > stuckMs) return true;
    return this.transport.isPaused() || this.#mux.isStrained(now);
  }

  /** A connection to the port. Whether it can be made shows later: it ends with an error where it can't. */
  open(): Duplex {
    const stream = new MuxStream(this.#mux.open(), this);
    this.#streams.set(stream.streamId, stream);
    this.transport.resume();
    this.#pump();
    this.#options.onChange();
    return stream;
  }

  /** @internal of MuxStream */
  read(): void {
    if (this.transport.isPaused()) this.transport.resume();
  }

  /** @internal */
  write({ streamId }: MuxStream, chunk: Buffer): void {
    this.#mux.write(streamId, chunk);
    this.#pump();
  }

  /** @internal */
  finish({ streamId }: MuxStream): void {
    this.#mux.finish(streamId);
    this.#pump();
  }

  /** @internal */
  closed(stream: MuxStream): void {
    this.#mux.abandon(stream.streamId);
    this.#streams.delete(stream.streamId);
    this.read();
    this.#pump();
    this.#options.onChange();
  }

  #receive(bytes: Buffer): void {
    let events: MuxEvent[];
    try {
      events = this.#mux.receive(bytes, this.#options.clock.now());
    } catch (error) {
      this.transport.destroy(asKeyholeError(error));
      return;
    }
    for (const event of events) this.#handle(event);
    this.#unlooked += bytes.length;
    if (this.#unlooked >= lookEveryBytes) this.#boundUnread();
    this.#pump();
  }

  #handle(event: MuxEvent): void {
    const stream = this.#streams.get(event.streamId);
    if (stream === undefined || stream.destroyed) return;
    if (event.type === 'data') stream.push(event.bytes);
    else if (event.type === 'end') stream.push(null);
    else stream.destroy(refused());
  }

  #boundUnread(): void {
    this.#unlooked = 0;
    let total = 0;
    let most: MuxStream | undefined;
    for (const stream of this.#streams.values()) {
      total += stream.readableLength;
      if (most === undefined || stream.readableLength > most.readableLength) most = stream;
    }
    if (this.#streams.size === 1 && total > unreadAloneBytes) this.transport.pause();
    if (total <= unreadBytes) return;
    this.#options.log('error', 'stream ended, its reader takes nothing', { stream: most!.streamId });
    most!.destroy(readerStalled());
  }

  /** Frames go while the transport takes them, so that whose turn it is is decided as late as possible. */
  #pump(): void {
    const { clock } = this.#options;
    const now = clock.now();
    while (!this.isGone && !this.transport.writableNeedDrain) {
      const frame = this.#mux.next(now);
      if (frame === undefined) break;
      this.transport.write(frame);
    }
    if (this.transport.writableNeedDrain) this.#fullSince ??= now;
    for (const stream of this.#streams.values()) {
      stream.sent(this.#mux.waitingBytes(stream.streamId) <= streamBacklogBytes, !this.#mux.has(stream.streamId));
    }
    const deadline = this.isGone || this.transport.writableNeedDrain ? undefined : this.#mux.deadline(now);
    if (deadline === undefined) this.#alarm.cancel();
    else this.#alarm.set(deadline);
  }

  #fail(error: KeyholeError): void {
    this.#failure ??= error;
    this.#alarm.cancel();
    for (const stream of [...this.#streams.values()]) stream.destroy(this.#failure);
  }
}

/** One connection. `end()` closes it both ways once all was sent (6.3: there is no half-close). */
class MuxStream extends Duplex {
  readonly streamId: number;
  readonly #link: MuxLink;
  #writing: (() => void) | undefined;
  #finishing: (() => void) | undefined;

  constructor(streamId: number, link: MuxLink) {
    super({ allowHalfOpen: true, readableHighWaterMark: 64 * 1024, writableHighWaterMark: streamBacklogBytes });
    this.streamId = streamId;
    this.#link = link;
  }

  override _read(): void {
    this.#link.read();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#writing = done;
    this.#link.write(this, chunk);
  }

  override _final(done: () => void): void {
    this.#finishing = () => {
      this.push(null);
      done();
    };
    this.#link.finish(this);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#link.closed(this);
    done(error);
  }

  /** @internal */
  sent(hasRoom: boolean, isClosed: boolean): void {
    const writing = this.#writing;
    if (writing !== undefined && (hasRoom || isClosed)) {
      this.#writing = undefined;
      process.nextTick(writing); // it may lead back here
    }
    const finishing = this.#finishing;
    if (finishing !== undefined && isClosed) {
      this.#finishing = undefined;
      process.nextTick(finishing);
    }
  }
}

/** An agent that ends the session at once does not want to go there: its text is why (protocol.md 1.2). */
function inOurWords(error: KeyholeError): KeyholeError {
  if (error.code !== 'port-closed') return error;
  return new TransportError('destination-refused', error.message, {
    hint: 'the agent resolves the name on the instance, and forwards to no address of AWS itself',
    cause: error,
  });
}

function refused(): TransportError {
  return new TransportError('port-refused', 'the agent could not connect to the port', {
    hint: 'does anything listen there, and may the instance reach it?',
  });
}

function readerStalled(): TransportError {
  return new TransportError('reader-stalled', 'a connection was ended because too many bytes were waiting to be read', {
    hint: 'forward_sessions = "separate" gives each connection a session of its own, which can wait',
  });
}

function ended(): TransportError {
  return new TransportError('session-ended', 'the session was ended');
}
