// The target's bytes on their way to the reader. What has come goes on at once, but for the pieces of a transfer: the agent sends
// that as 700 messages of 1,024 bytes a second, and to hand on and to wake ssh for each was a third of what they cost (measured).
// Pure.

/** So many messages of one size, that or more, are a transfer; then what comes within so many milliseconds goes on at once. */
const transferMessages = 16;
const leastCutBytes = 1024;
const gatherMs = 4;
/** Longer ones are worth a way of their own. */
const mostGatheredBytes = 8 * 1024;
const roomBytes = 32 * 1024;

export class Delivery {
  readonly #deliver: (bytes: Buffer) => void;
  /** Messages of one size in a row, */
  #alike = 0;
  /** and that size. */
  #length = 0;
  /** What waits is a part of this. */
  #room: Buffer | undefined;
  #start = 0;
  #end = 0;
  #dueAt = Number.POSITIVE_INFINITY;

  /** @param deliver gets bytes of its own */
  constructor(deliver: (bytes: Buffer) => void) {
    this.#deliver = deliver;
  }

  /** When what waits is to be flushed at the latest; never if nothing does. */
  get dueAt(): number {
    return this.#dueAt;
  }

  /** Takes a message's payload, of which nothing is needed afterwards. */
  take(bytes: Buffer, now: number): void {
    if (!this.#isOfTransfer(bytes)) {
      this.flush();
      this.#room = undefined;
      this.#deliver(Buffer.from(bytes));
      return;
    }
    if (this.#room === undefined || this.#room.length - this.#end < bytes.length) {
      this.flush();
      this.#room = Buffer.allocUnsafeSlow(roomBytes);
      this.#start = this.#end = 0;
    }
    this.#room.set(bytes, this.#end);
    this.#end += bytes.length;
    this.#dueAt = Math.min(this.#dueAt, now + gatherMs);
  }

  /** Hands on what waits. */
  flush(): void {
    if (this.#start === this.#end) return;
    this.#dueAt = Number.POSITIVE_INFINITY;
    const waiting = this.#room!.subarray(this.#start, this.#end);
    this.#start = this.#end;
    this.#deliver(waiting);
  }

  /** A stream that is cut into pieces of one size has more behind each; whoever waits for an answer gets one that is shorter. */
  #isOfTransfer({ length }: Buffer): boolean {
    this.#alike = length === this.#length && length >= leastCutBytes ? this.#alike + 1 : 0;
    this.#length = length;
    return this.#alike >= transferMessages && length <= mostGatheredBytes;
  }
}
