// A socket that is read in pieces. What has been read of ssh's bytes stands in front of its next keystroke, and Node reads 64 KiB
// at once, 130 ms on a line of 500 KB/s; less only into a buffer of ours (`onread`), so large as what was read lately allows.
import { Socket, type SocketConstructorOpts } from 'node:net';
import { Duplex } from 'node:stream';
import type { Clock } from '../clock.ts';
import type { Taker } from '../tunnel/relay.ts';

/** A socket is read on when less than this of it waits. */
const markBytes = 4 * 1024;
/** What waits for ssh to read it holds up nobody: as much as keeps a fast download going while ssh decrypts. */
const writeMarkBytes = 256 * 1024;
/** A read brings no more than goes on in so many milliseconds, by what was read in so many before, */
const pieceMs = 8;
const roundMs = 32;
/** but this at any rate, and no more than Node's own. */
export const leastPieceBytes = 8 * 1024;
const mostPieceBytes = 64 * 1024;

export class PieceSocket extends Socket {
  taker: Taker | undefined;

  private constructor(from: SocketConstructorOpts, clock: Clock) {
    const buffers = new Buffers(clock);
    super({
      ...from,
      allowHalfOpen: true,
      readable: true,
      writable: true,
      ...{ readableHighWaterMark: markBytes, writableHighWaterMark: writeMarkBytes },
      onread: {
        buffer: () => buffers.next(),
        callback: (bytes) => this.#receive(buffers.take(bytes)),
      },
    });
  }

  static open(fd: number, clock: Clock): Socket {
    return new PieceSocket({ fd }, clock);
  }

  /**
   * Takes the place of one that a server has accepted, paused. Node has no option for it, so it is given what Node calls the
   * handle; where that is not as expected, the accepted one does.
   */
  static replace(accepted: Socket, clock: Clock): Socket {
    const inside = accepted as unknown as { _handle?: { useUserBuffer?: unknown } | null };
    const handle = inside._handle;
    if (typeof handle?.useUserBuffer !== 'function') return accepted.resume();
    inside._handle = null;
    const socket = new PieceSocket({ handle } as SocketConstructorOpts, clock);
    socket.once('close', () => accepted.destroy()); // the server counts it
    return socket;
  }

  /** @returns whether to read on */
  #receive(piece: Buffer): boolean {
    const isTaken = this.readableLength === 0 && this.taker?.(piece) === true;
    return isTaken || this.push(piece);
  }

  // With a buffer of ours Node's Socket starts and stops reading in these three whatever waits already: it would read on with
  // every piece that is taken. They are a stream's here, as without the buffer.
  override read(size?: number): unknown {
    return Duplex.prototype.read.call(this, size);
  }

  override pause(): this {
    return Duplex.prototype.pause.call(this) as this;
  }

  override resume(): this {
    return Duplex.prototype.resume.call(this) as this;
  }
}

class Buffers {
  readonly #clock: Clock;
  #buffer: Buffer | undefined;
  #size = leastPieceBytes;
  /** Of a round, and when it began. */
  #bytes = 0;
  #beganAt: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#beganAt = clock.now();
  }

  /** For the next read. */
  next(): Buffer {
    if (this.#buffer?.length !== this.#size) this.#buffer = Buffer.allocUnsafeSlow(this.#size);
    return this.#buffer;
  }

  /** What was read into the last one. */
  take(bytes: number): Buffer {
    const buffer = this.#buffer!;
    this.#bytes += bytes;
    const ms = this.#clock.now() - this.#beganAt;
    if (ms >= roundMs) this.#endRound(ms);
    if (bytes < buffer.length / 2) return Buffer.from(buffer.subarray(0, bytes));
    this.#buffer = undefined; // given away
    return buffer.subarray(0, bytes);
  }

  #endRound(ms: number): void {
    const passed = Math.round((this.#bytes / ms) * pieceMs);
    this.#size = Math.min(mostPieceBytes, Math.max(leastPieceBytes, passed));
    this.#bytes = 0;
    this.#beganAt += ms;
  }
}
