// How long to wait before a cut session is tried to be taken up again (protocol.md section 7). Pure but for its dice.

/** Pauses are between half of this and all of it: at first, and at most. The reference gives up after seconds, silently. */
const firstPauseMs = 400;
const longestPauseMs = 5_000;

export class Backoff {
  readonly #totalMs: number;
  readonly #random: () => number;
  #since: number | undefined;
  #pauseMs = firstPauseMs;

  /**
   * @param totalMs after this long no further try begins
   * @param random from 0 to 1: many sessions that were cut at once must not come back at once
   */
  constructor(totalMs: number, random: () => number = Math.random) {
    this.#totalMs = totalMs;
    this.#random = random;
  }

  /** Milliseconds to wait before the next try: none before the first. Undefined when it is time to give up. */
  next(now: number): number | undefined {
    if (this.#since === undefined) {
      this.#since = now;
      return 0;
    }
    const pause = this.#pauseMs * (0.5 + 0.5 * this.#random());
    if (now + pause > this.#since + this.#totalMs) return undefined;
    this.#pauseMs = Math.min(this.#pauseMs * 2, longestPauseMs);
    return pause;
  }

  /** Things may be better now: pauses are short again, and the time goes on. */
  hurry(): void {
    this.#pauseMs = firstPauseMs;
  }

  /** The trouble is over; what comes is another. */
  reset(): void {
    this.#since = undefined;
    this.#pauseMs = firstPauseMs;
  }
}
