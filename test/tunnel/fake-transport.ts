// A transport in memory: the test plays the target.
import { Duplex } from 'node:stream';
import type { Transport } from '../../src/tunnel/transport.ts';

export class FakeTransport extends Duplex implements Transport {
  readonly kind = 'ssm';
  readonly sessionId = 'alice-0123456789abcdef0';
  /** What the target has been given, as text. */
  received = '';
  /** Whether the target takes bytes. */
  taking = true;
  /** Whether the session's end is ever confirmed. */
  ending = true;
  sessionEnded = false;
  reads = 0;
  /** Length of each write. */
  readonly writes: number[] = [];
  #held: (() => void) | undefined;

  constructor(writableHighWaterMark = 16) {
    super({ allowHalfOpen: false, readableHighWaterMark: 16, writableHighWaterMark });
  }

  stats() {
    return { bytesSent: this.received.length, bytesReceived: 0, roundTripMs: undefined, resumes: 0 };
  }

  /** The target says something; false: the reader is behind. */
  say(text: string): boolean {
    return this.push(Buffer.from(text));
  }

  /** The target closes. */
  hangUp(): void {
    this.push(null);
  }

  takeAgain(): void {
    this.taking = true;
    this.#held?.();
  }

  override _read(): void {
    this.reads += 1;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.writes.push(chunk.length);
    const take = () => {
      this.received += chunk.toString();
      done();
    };
    if (this.taking) take();
    else this.#held = take;
  }

  override _final(done: () => void): void {
    if (!this.ending) return;
    this.sessionEnded = true;
    this.push(null);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (!this.ending) return;
    this.sessionEnded = true;
    done(error);
  }
}
