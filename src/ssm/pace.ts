// A token bucket: how many messages may go out now. The gateway is reported to pause or drop a session above about
// 1,000 messages per second (protocol.md section 11). Pure.

export class Pace {
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
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
    this.#refill(now);
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  /** Counts a message that can't wait (an acknowledgement): it takes a place if there is one and goes in any case. */
  note(now: number): void {
    this.#refill(now);
    this.#tokens = Math.max(0, this.#tokens - 1);
  }

  /** When take() will next succeed, in the time of `now`. */
  readyAt(now: number): number {
    this.#refill(now);
    return this.#tokens >= 1 ? now : now + (1 - this.#tokens) / this.#perMs;
  }

  #refill(now: number): void {
    if (this.#at !== undefined && now > this.#at) {
      this.#tokens = Math.min(this.#burst, this.#tokens + (now - this.#at) * this.#perMs);
    }
    this.#at = now;
  }
}
