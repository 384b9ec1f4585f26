// When the next call fits into a quota of so many per second, if AWS counts them with a token bucket (protocol.md section 11:
// full at first, holds one second's worth). Pure: times are passed in, in milliseconds.
//
// When AWS counted a call is not known, only that it was between its sending and its answer, and a call that overtakes
// another is one too early. So each is taken as counted when it was answered: then no call of ours is throttled, and the
// first answer's delay is all that is lost, as long as answers come within (1 - 1/quota) s (with a quota of 3, 667 ms).

/** A call without answer is taken as counted after this long; it must not hold up those behind it until it times out. */
const countedWithinMs = 1_000;

export class Quota {
  /** How many may come at once. */
  readonly #capacity: number;
  readonly #intervalMs: number;
  /** Calls sent, each named by its number. */
  #sent = 0;
  /** Those without an answer, with the time of sending; oldest first. */
  readonly #underWay = new Map<number, number>();
  /**
   * Call n fits at `#origin` + (n + 1 − capacity) intervals. Since a call that was counted at c lets call n fit at
   * c + (n − its number + 1 − capacity) intervals, this is the latest c − number × interval.
   */
  #origin = Number.NEGATIVE_INFINITY;

  constructor(perSecond: number) {
    this.#capacity = perSecond;
    this.#intervalMs = 1_000 / perSecond;
  }

  /** When the next call may be sent, as far as is known now; an answer may make it earlier. */
  nextAt(now: number): number {
    const next = this.#sent;
    let at = this.#origin + (next + 1 - this.#capacity) * this.#intervalMs;
    for (const [call, sentAt] of this.#underWay) {
      const behind = next - call + 1 - this.#capacity;
      if (behind <= 0) continue;
      const countedAt = sentAt + countedWithinMs;
      at = Math.max(at, now < countedAt ? countedAt : countedAt + behind * this.#intervalMs);
    }
    return at;
  }

  /** Returns the call's number. */
  send(now: number): number {
    this.#underWay.set(this.#sent, now);
    return this.#sent++;
  }

  answered(call: number, now: number): void {
    const sentAt = this.#underWay.get(call);
    if (sentAt === undefined) return;
    this.#underWay.delete(call);
    this.#origin = Math.max(this.#origin, Math.min(now, sentAt + countedWithinMs) - call * this.#intervalMs);
  }

  /** Somebody else uses the same quota: the bucket was empty. The next call waits for a token, and `extra` of one more. */
  throttled(call: number, now: number, extra: number): void {
    this.#underWay.delete(call);
    this.#origin = Math.max(this.#origin, now + (1 + extra - (this.#sent + 1 - this.#capacity)) * this.#intervalMs);
  }
}
