// A token bucket: how many messages may go out now. The gateway is reported to pause or drop a session above about
// 1,000 messages per second (protocol.md section 11). Pure.

/**
 * Acknowledgements can't wait, so they are paid for afterwards, with at most this share of what comes in: a fast
 * download needs about 750 a second, and must neither hold up a keystroke nor stop an upload.
 */
const acknowledgementShare = 0.75;
/** Of adding up fractions; without it a sum of 0.999… would be waited for in steps of nothing. */
const roundingError = 1e-9;

export class Pace {
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  /** Acknowledgements not paid for yet. */
  #owed = 0;
  #at: number | undefined;

  /** @param perSecond messages per second, more than 0 */
  constructor(perSecond: number) {
    this.#perMs = perSecond / 1000;
    // A twentieth of a second at once: an interactive burst never waits, a bulk transfer stays within the rate.
    this.#burst = Math.max(1, perSecond / 20);
    this.#tokens = this.#burst;
  }

  /** Takes one message's place, if there is one. */
  take(now: number): boolean {
    if (this.readyAt(now) > now) return false;
    this.#tokens -= 1;
    return true;
  }

  /** Counts a message that can't wait. */
  note(now: number): void {
    this.#refill(now);
    this.#owed = Math.min(this.#burst, this.#owed + 1);
  }

  /** When take() will next succeed, in the time of `now`. */
  readyAt(now: number): number {
    this.#refill(now);
    const missing = 1 - this.#tokens;
    if (missing <= roundingError) return now;
    return now + Math.min(missing + this.#owed, missing / (1 - acknowledgementShare)) / this.#perMs;
  }

  #refill(now: number): void {
    const earned = this.#at === undefined ? 0 : Math.max(0, now - this.#at) * this.#perMs;
    const paid = Math.min(this.#owed, earned * acknowledgementShare);
    this.#owed -= paid;
    this.#tokens = Math.min(this.#burst, this.#tokens + earned - paid);
    this.#at = now;
  }
}
