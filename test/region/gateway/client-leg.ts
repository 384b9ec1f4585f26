// A client's websocket after OpenDataChannel: messages both ways with back-pressure, and the ways it can be cut.
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '../../../src/clock.ts';
import type { Cut } from './faults.ts';

/** What a half-open leg swallows before its socket would be full. */
const frozenLimitBytes = 256 * 1024;

/** What a leg needs of a websocket: one of ws, or what an endpoint has in its place. */
export interface LegSocket {
  on(event: 'message', listener: (data: unknown, isBinary: boolean) => void): unknown;
  on(event: 'close', listener: () => void): unknown;
  send(message: Buffer, options: { binary: true }): void;
  pause(): void;
  resume(): void;
  close(code: number, reason: string): void;
  terminate(): void;
}

export class ClientLeg {
  onMessage: (message: Buffer) => void = () => {};
  /** Once, however the leg went. */
  onClose: () => void = () => {};
  onDrain: () => void = () => {};
  readonly #webSocket: LegSocket;
  readonly #socket: Duplex;
  readonly #connection: Socket;
  readonly #clock: Clock;
  #stopped = false;
  #frozen: { held: Buffer[]; bytes: number; timer: Timer } | undefined;

  /** `connection` is the TCP connection under `socket`: the same, or what TLS runs over. */
  constructor(webSocket: LegSocket, socket: Duplex, connection: Socket, clock: Clock) {
    this.#webSocket = webSocket;
    this.#socket = socket;
    this.#connection = connection;
    this.#clock = clock;
    webSocket.on('message', (data, isBinary) => {
      if (isBinary) this.onMessage(data as Buffer);
    });
    webSocket.on('close', () => {
      this.#frozen?.timer.cancel();
      this.onClose();
    });
    socket.on('drain', () => {
      if (this.#frozen === undefined) this.onDrain();
    });
  }

  /** Always takes the message; false: send no more until `onDrain`. */
  send(message: Buffer): boolean {
    if (this.#frozen !== undefined) {
      this.#frozen.held.push(message);
      this.#frozen.bytes += message.length;
      return this.#frozen.bytes < frozenLimitBytes;
    }
    this.#webSocket.send(message, { binary: true });
    return !this.#socket.writableNeedDrain;
  }

  /** Stops and starts reading. */
  pause(): void {
    this.#stopped = true;
    this.#webSocket.pause();
  }

  resume(): void {
    this.#stopped = false;
    if (this.#frozen === undefined) this.#webSocket.resume();
  }

  close(code: number, reason = ''): void {
    this.#thaw();
    this.#webSocket.close(code, reason);
  }

  cut(cut: Cut): void {
    if (cut.by === 'close' && cut.code === 1006) this.destroy();
    else if (cut.by === 'close') this.close(cut.code, cut.reason);
    else if (cut.by === 'freeze') this.#freeze(cut.ms);
    else this.#connection.resetAndDestroy();
  }

  /** Ends at once, without a close frame. */
  destroy(): void {
    this.#frozen?.timer.cancel();
    this.#webSocket.terminate();
  }

  #freeze(ms: number): void {
    this.#frozen?.timer.cancel();
    const timer = this.#clock.after(ms, () => this.#thaw());
    this.#frozen = { held: [], bytes: 0, ...this.#frozen, timer };
    this.#webSocket.pause();
  }

  #thaw(): void {
    const frozen = this.#frozen;
    if (frozen === undefined) return;
    frozen.timer.cancel();
    this.#frozen = undefined;
    if (!this.#stopped) this.#webSocket.resume();
    let room = true;
    for (const message of frozen.held) room = this.send(message);
    if (room) this.onDrain();
  }
}
