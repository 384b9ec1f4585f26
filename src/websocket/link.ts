// One open websocket, as both transports need it: frames out with backpressure, bytes in, signs of life, a bounded end
// (RFC 6455). It knows nothing of what the messages mean. A lost socket is reported once, with its close code.
import type { Socket } from 'node:net';
import type { Clock, Timer } from '../clock.ts';
import { FrameError, FrameReader, Opcode } from './frame.ts';
import { FrameWriter } from './frame-writer.ts';
import { readIntoOwnBuffer } from './own-buffer.ts';

export interface LinkEvents {
  /**
   * A message, whose bytes are valid during the call; or, for a reader that wants `pieces`, whatever part of one has come, to
   * be kept at will.
   */
  message(bytes: Buffer, isBinary: boolean): void;
  /** All messages that came in one read have been handed on. */
  read?(): void;
  /** Room again, after `hasRoom` was false. */
  drain(): void;
  /** Once; `code` is undefined where the socket was lost without a close frame. */
  close(end: LinkEnd): void;
}

export interface LinkEnd {
  code: number | undefined;
  /** As the peer sent it: not fit to be shown. Without a code: what it broke of RFC 6455, if that was why. */
  reason: string;
}

export interface LinkOptions {
  clock: Clock;
  pingIntervalMs: number;
  /** For a reader to whom the boundaries of messages mean nothing: bytes are handed on as they come, without a copy. */
  pieces?: boolean | undefined;
}

/** Larger messages end the connection; the agent's have 1,024 bytes of payload today (protocol.md 2.1). */
const maxMessageBytes = 4 * 2 ** 20;
/** So many parts of one message at most: empty fragments would take memory without a byte to count. */
const maxMessageParts = 4_096;
/** For one read of messages, as large as a TLS record. */
const readBufferBytes = 16 * 1024;
/** Bytes on their way to the kernel above which the producer waits: some messages of full size. */
const sendBufferBytes = 256 * 1024;
/** A pong may be this late. */
const pongGraceMs = 15_000;
/** How long the peer may take to answer our close frame, and to take what is left after its own. */
const closeTimeoutMs = 500;

export class WebSocketLink {
  readonly #socket: Socket;
  readonly #writer: FrameWriter;
  readonly #reader: FrameReader;
  readonly #clock: Clock;
  readonly #pingIntervalMs: number;
  readonly #pieces: boolean;
  #events: LinkEvents | undefined;
  /** Of a message that has come in part. */
  #parts: Buffer[] = [];
  #partBytes = 0;
  #heardAt: number;
  #pingedAt: number | undefined;
  #roundTripMs: number | undefined;
  #timer: Timer | undefined;
  /** Runs while a sign of life is asked for. */
  #probe: Timer | undefined;
  /** `closing`: a close frame went one way or the other. */
  #state: 'open' | 'closing' | 'closed' = 'open';
  #end: LinkEnd = { code: undefined, reason: '' };
  #isPaused = false;
  #hasSentClose = false;
  /** Payload of the last ping, where there was no room for its answer. */
  #owedPong: Buffer | undefined;
  /** The time for the end is running. */
  #isBounded = false;
  #isCutOff = false;
  readonly #closed = Promise.withResolvers<boolean>();

  /** @internal Use dialWebSocket. @param head what came behind the answer to the upgrade */
  constructor(socket: Socket, head: Buffer, options: LinkOptions) {
    this.#socket = socket;
    this.#writer = new FrameWriter(socket);
    this.#clock = options.clock;
    this.#pingIntervalMs = options.pingIntervalMs;
    this.#pieces = options.pieces ?? false;
    this.#heardAt = this.#clock.now();
    this.#reader = new FrameReader({
      data: (bytes, isBinary, isEnd) => this.#data(bytes, isBinary, isEnd),
      ping: (payload) => this.#answer(payload),
      pong: () => this.#pong(),
      close: (code, reason) => this.#closeFrame(code, reason),
    });
    socket.setTimeout(0);
    socket.setNoDelay(true); // no byte waits
    const receive = (chunk: Buffer) => this.#receive(chunk);
    if (!this.#pieces) readIntoOwnBuffer(socket, Buffer.allocUnsafeSlow(readBufferBytes), receive);
    socket.pause();
    if (head.length > 0) socket.unshift(head);
    socket.on('data', receive); // of a buffer of ours: the head only
    socket.on('end', () => this.destroy());
    socket.on('error', () => {}); // 'close' follows and is what counts
    socket.on('close', () => this.#gone());
    socket.on('drain', () => this.#drained());
    socket.pause(); // a listener for data has started it
    this.#keepAlive();
  }

  /** Attaches the one reader; until then nothing is read. */
  start(events: LinkEvents): void {
    this.#events = events;
    if (this.#state === 'closed') events.close(this.#end);
    else this.#socket.resume();
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }

  /** Whether a further message may be sent before `drain`. */
  get hasRoom(): boolean {
    return this.#socket.writableLength < sendBufferBytes;
  }

  /** How long nothing has come. */
  get silentMs(): number {
    return this.#isPaused ? 0 : this.#clock.now() - this.#heardAt;
  }

  /** From the last ping of ours that was answered. */
  get roundTripMs(): number | undefined {
    return this.#roundTripMs;
  }

  /** Several sends after cork() leave in one system call at uncork(). */
  cork(): void {
    this.#writer.cork();
  }

  uncork(): void {
    this.#writer.uncork();
  }

  /** Bytes go as BINARY, a string as TEXT. Nothing of `message` is needed after the call. */
  send(message: Uint8Array | string): void {
    if (typeof message === 'string') this.#write(Opcode.text, Buffer.from(message));
    else this.#write(Opcode.binary, message);
  }

  /** Stops reading. What has been read from the socket already still comes: some 64 KiB. */
  pause(): void {
    if (this.#isPaused || this.#hasSentClose) return;
    this.#isPaused = true;
    this.#heard(); // what would be heard is not read
    this.#socket.pause();
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#heard(); // silence while nothing was read says nothing
    this.#socket.resume();
  }

  /**
   * Closes with a close frame (1000) behind what was sent, waits for the peer's, at most for `timeoutMs`, and resolves when
   * nothing is left: false where the time was over with something of what was sent still here.
   */
  close(timeoutMs: number = closeTimeoutMs): Promise<boolean> {
    if (this.#state === 'open') {
      this.#sendClose(1000);
      this.#destroyAfter(timeoutMs);
      this.#isPaused = false;
      this.#socket.resume(); // the peer's close frame has to be read
    }
    return this.#closed.promise;
  }

  /** Asks for a sign of life: a connection that gives none within `timeoutMs` is dead. */
  probe(timeoutMs: number): void {
    if (!this.isOpen || this.#isPaused || this.#probe !== undefined) return;
    this.#ping();
    this.#probe = this.#clock.after(timeoutMs, () => this.destroy());
  }

  /** Drops the connection. */
  destroy(): void {
    this.#state = this.#state === 'closed' ? 'closed' : 'closing';
    this.#socket.destroy();
  }

  #write(opcode: Opcode, payload: Uint8Array): void {
    if (this.#state === 'open' && this.#socket.writable) this.#writer.write(opcode, payload);
  }

  /** Only the last ping needs an answer (RFC 6455 5.5.3): a peer that pings and does not read must not fill our memory. */
  #answer(ping: Buffer): void {
    if (this.hasRoom) this.#write(Opcode.pong, ping);
    else this.#owedPong = Buffer.from(ping);
  }

  #drained(): void {
    if (this.#owedPong !== undefined) this.#write(Opcode.pong, this.#owedPong);
    this.#owedPong = undefined;
    this.#events?.drain();
  }

  #sendClose(code: number): void {
    const payload = Buffer.alloc(code === 1005 ? 0 : 2);
    if (code !== 1005) payload.writeUInt16BE(code);
    this.#write(Opcode.close, payload);
    this.#hasSentClose = true;
    this.#state = 'closing';
  }

  #receive(chunk: Buffer): void {
    this.#heard();
    try {
      this.#reader.receive(chunk);
      this.#events?.read?.();
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.#end = { code: undefined, reason: error.message };
      if (!this.#hasSentClose) this.#sendClose(error.closeCode);
      this.#leave();
    }
  }

  #data(bytes: Buffer, isBinary: boolean, isEnd: boolean): void {
    if (this.#socket.destroyed) return; // by the reader, in the middle of a chunk
    if (this.#pieces) {
      if (bytes.length > 0 || !isBinary) this.#events?.message(bytes, isBinary);
      return;
    }
    this.#partBytes += bytes.length;
    if (this.#partBytes > maxMessageBytes) throw new FrameError('a message is too long', 1009);
    if (isEnd && this.#parts.length === 0) {
      this.#partBytes = 0;
      this.#events?.message(bytes, isBinary);
      return;
    }
    // A copy: a part of one byte would keep the chunk in memory in which it came.
    if (this.#parts.push(Buffer.from(bytes)) > maxMessageParts)
      throw new FrameError('a message has too many parts', 1008);
    if (!isEnd) return;
    const message = Buffer.concat(this.#parts, this.#partBytes);
    this.#parts = [];
    this.#partBytes = 0;
    this.#events?.message(message, isBinary);
  }

  #pong(): void {
    if (this.#pingedAt !== undefined) this.#roundTripMs = this.#heardAt - this.#pingedAt;
    this.#pingedAt = undefined;
  }

  #closeFrame(code: number, reason: string): void {
    this.#end = { code, reason };
    if (!this.#hasSentClose) this.#sendClose(code);
    this.#leave();
  }

  /** Everything is said: ours ends behind what is still on its way, and the peer closes the connection (RFC 6455 7.1.1). */
  #leave(): void {
    this.#socket.end();
    this.#socket.resume(); // its end has to be read
    if (!this.#isBounded) this.#destroyAfter(closeTimeoutMs);
  }

  #destroyAfter(ms: number): void {
    this.#isBounded = true;
    this.#timer?.cancel();
    this.#timer = this.#clock.after(ms, () => {
      this.#isCutOff = this.#socket.writableLength > 0;
      this.destroy();
    });
  }

  #gone(): void {
    this.#state = 'closed';
    this.#timer?.cancel();
    this.#probe?.cancel();
    this.#closed.resolve(!this.#isCutOff);
    this.#events?.close(this.#end);
  }

  #heard(): void {
    this.#heardAt = this.#clock.now();
    this.#probe?.cancel();
    this.#probe = undefined;
  }

  /** Pings at every interval. Without any sign of life for that long and the grace of a pong, the connection is dead. */
  #keepAlive(): void {
    const { silentMs } = this;
    const toleratedMs = this.#pingIntervalMs + pongGraceMs;
    if (silentMs >= toleratedMs) {
      this.destroy();
      return;
    }
    const waitMs = Math.min(this.#pingIntervalMs, toleratedMs - silentMs);
    const dueAt = this.#clock.now() + waitMs;
    this.#timer = this.#clock.after(waitMs, () => {
      // While this process stood still it could not hear either.
      const now = this.#clock.now();
      this.#heardAt = Math.min(now, this.#heardAt + Math.max(0, now - dueAt));
      if (this.isOpen) this.#ping();
      this.#keepAlive();
    });
  }

  #ping(): void {
    this.#pingedAt = this.#clock.now();
    this.#write(Opcode.ping, Buffer.from('keepalive')); // the payload of the reference plugin (protocol.md 2.1)
  }
}
