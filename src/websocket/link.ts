// One open websocket, as both transports need it: frames out with backpressure, messages in, signs of life, a bounded
// end. It knows nothing of what the messages mean. A lost socket is reported once, with its close code (RFC 6455).
import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
import type { Clock, Timer } from '../clock.ts';

export interface LinkEvents {
  message(bytes: Buffer, isBinary: boolean): void;
  /** Room again, after `hasRoom` was false. */
  drain(): void;
  /** Once; `code` is undefined where the socket was lost without a close frame. */
  close(end: LinkEnd): void;
}

export interface LinkEnd {
  code: number | undefined;
  /** As the peer sent it: not fit to be shown. */
  reason: string;
}

export interface LinkOptions {
  clock: Clock;
  pingIntervalMs: number;
}

/** Bytes on their way to the kernel above which the producer waits: some messages of full size. */
const sendBufferBytes = 256 * 1024;
/** A pong may be this late. */
const pongGraceMs = 15_000;
/** How long the peer may take to answer our close frame. */
const closeTimeoutMs = 500;

export class WebSocketLink {
  readonly #webSocket: WebSocket;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #pingIntervalMs: number;
  #events: LinkEvents | undefined;
  #heardAt: number;
  #pingedAt: number | undefined;
  #roundTripMs: number | undefined;
  #timer: Timer | undefined;
  #end: LinkEnd | undefined;
  #isPaused = false;
  #isClosing = false;
  #isCutOff = false;
  readonly #closed = Promise.withResolvers<boolean>();

  /** @internal Use dialWebSocket. */
  constructor(webSocket: WebSocket, socket: Socket, options: LinkOptions) {
    this.#webSocket = webSocket;
    this.#socket = socket;
    this.#clock = options.clock;
    this.#pingIntervalMs = options.pingIntervalMs;
    this.#heardAt = this.#clock.now();
    webSocket.pause();
    webSocket.on('message', (bytes: Buffer, isBinary) => {
      this.#heard();
      this.#events?.message(bytes, isBinary);
    });
    webSocket.on('ping', () => this.#heard());
    webSocket.on('pong', () => {
      this.#heard();
      if (this.#pingedAt !== undefined) this.#roundTripMs = this.#heardAt - this.#pingedAt;
      this.#pingedAt = undefined;
    });
    webSocket.on('error', () => {}); // 'close' follows and is what counts
    webSocket.on('close', (code, reason) => {
      this.#timer?.cancel();
      this.#closed.resolve(!this.#isCutOff);
      // ws says 1006 where there was no close frame; RFC 6455 7.4.1 keeps that number off the wire.
      this.#end = { code: code === 1006 ? undefined : code, reason: reason.toString('utf8') };
      this.#events?.close(this.#end);
    });
    socket.on('drain', () => this.#events?.drain());
    this.#keepAlive();
  }

  /** Attaches the one reader; until then nothing is read. */
  start(events: LinkEvents): void {
    this.#events = events;
    if (this.#end !== undefined) events.close(this.#end);
    else this.#webSocket.resume();
  }

  get isOpen(): boolean {
    return this.#webSocket.readyState === WebSocket.OPEN;
  }

  /** Whether a further message may be sent before `drain`. */
  get hasRoom(): boolean {
    return this.#webSocket.bufferedAmount < sendBufferBytes;
  }

  /** From the last ping of ours that was answered. */
  get roundTripMs(): number | undefined {
    return this.#roundTripMs;
  }

  /** Several sends after cork() leave in one system call at uncork(). */
  cork(): void {
    this.#socket.cork();
  }

  uncork(): void {
    this.#socket.uncork();
  }

  /** Bytes go as BINARY, a string as TEXT. */
  send(message: Uint8Array | string): void {
    this.#webSocket.send(message);
  }

  /** Stops reading. What has been read from the socket already still comes: some 64 KiB. */
  pause(): void {
    if (this.#isPaused || this.#isClosing) return;
    this.#isPaused = true;
    this.#webSocket.pause();
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#heard(); // silence while nothing was read says nothing
    this.#webSocket.resume();
  }

  /**
   * Closes with a close frame (1000) behind what was sent, waits for the peer's, at most for `timeoutMs`, and resolves when
   * nothing is left: false where the time was over with something of what was sent still here.
   */
  close(timeoutMs: number = closeTimeoutMs): Promise<boolean> {
    if (this.#isClosing || this.#webSocket.readyState === WebSocket.CLOSED) return this.#closed.promise;
    this.#isClosing = true;
    this.#isPaused = false;
    this.#timer?.cancel();
    this.#timer = this.#clock.after(timeoutMs, () => {
      this.#isCutOff = this.#webSocket.bufferedAmount > 0;
      this.destroy();
    });
    this.#webSocket.resume(); // the peer's close frame has to be read
    this.#webSocket.close(1000);
    return this.#closed.promise;
  }

  /** Drops the connection. */
  destroy(): void {
    this.#webSocket.terminate();
  }

  #heard(): void {
    this.#heardAt = this.#clock.now();
  }

  /** Pings at every interval. Without any sign of life for that long and the grace of a pong, the connection is dead. */
  #keepAlive(): void {
    const silentMs = this.#isPaused ? 0 : this.#clock.now() - this.#heardAt;
    const toleratedMs = this.#pingIntervalMs + pongGraceMs;
    if (silentMs >= toleratedMs) {
      this.destroy();
      return;
    }
    const waitMs = Math.min(this.#pingIntervalMs, toleratedMs - silentMs);
    this.#timer = this.#clock.after(waitMs, () => {
      if (this.isOpen) this.#ping();
      this.#keepAlive();
    });
  }

  #ping(): void {
    this.#pingedAt = this.#clock.now();
    this.#webSocket.ping('keepalive'); // the payload of the reference plugin (protocol.md 2.1)
  }
}
