// The receiving half of the reliability layer (protocol.md 4.3): sequence numbers to bytes in order. Pure.
import type { Message } from './message.ts';

/** What became of a message: all but `dropped` are to be acknowledged. */
export type Arrival = 'next' | 'ahead' | 'duplicate' | 'dropped';

export class Incoming {
  readonly #ahead = new Map<number, Message>();
  readonly #maxAhead: number;
  readonly #maxAheadBytes: number;
  #expected = 0;
  #aheadBytes = 0;

  /**
   * @param maxAhead how far above the expected number a message is kept; the reference keeps 10,000 (4.4)
   * @param maxAheadBytes and how many payload bytes in all
   */
  constructor(maxAhead = 10_000, maxAheadBytes = 16 * 2 ** 20) {
    this.#maxAhead = maxAhead;
    this.#maxAheadBytes = maxAheadBytes;
  }

  /** The sequence number that comes next. */
  get expected(): number {
    return this.#expected;
  }

  /** True where messages arrived behind one that is still missing. */
  get hasGap(): boolean {
    return this.#ahead.size > 0;
  }

  /** Files a message, whose bytes are the caller's again afterwards. After `next`, take() gives those that were waiting for it. */
  receive(message: Message): Arrival {
    const number = message.sequenceNumber;
    if (number < 0) return 'dropped';
    if (number < this.#expected || this.#ahead.has(number)) return 'duplicate';
    if (number === this.#expected) {
      this.#expected += 1;
      return 'next';
    }
    const bytes = this.#aheadBytes + message.payload.length;
    // Not acknowledged either, so the agent will send it again.
    if (number - this.#expected > this.#maxAhead || bytes > this.#maxAheadBytes) return 'dropped';
    this.#ahead.set(number, message.copy());
    this.#aheadBytes = bytes;
    return 'ahead';
  }

  /** The next message in order that had come early, if it has. */
  take(): Message | undefined {
    if (this.#ahead.size === 0) return undefined;
    const message = this.#ahead.get(this.#expected);
    if (message === undefined) return undefined;
    this.#ahead.delete(this.#expected);
    this.#aheadBytes -= message.payload.length;
    this.#expected += 1;
    return message;
  }
}
