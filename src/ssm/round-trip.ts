// Measured round trip and the retransmission timeout drawn from it, with the reference's gains
// (protocol.md 4.4). Pure. Times are milliseconds.

const initialRoundTripMs = 100;
const initialTimeoutMs = 200;
const granularityMs = 10;
/** How much later than on average an acknowledgement may be at any time: a queue has grown, a machine was busy. */
const patienceMs = 100;
/** With backoff too. The reference resends for ever at 1 s, where a path is slower than that. */
const maxTimeoutMs = 5000;

export class RoundTrip {
  #smoothed = initialRoundTripMs;
  #variation = 0;
  #timeout = initialTimeoutMs;
  #backoff = 1;
  #measured = false;

  /** A sample of a message that was sent once (Karn: a resent one says nothing). It ends the backoff. */
  sample(ms: number): void {
    // Variation first, with the old round trip (4.4).
    this.#variation = 0.75 * this.#variation + 0.25 * Math.abs(this.#smoothed - ms);
    this.#smoothed = this.#measured ? 0.875 * this.#smoothed + 0.125 * ms : ms;
    this.#timeout = Math.min(maxTimeoutMs, this.#smoothed + Math.max(patienceMs, 4 * this.#variation));
    this.#measured = true;
    this.#backoff = 1;
  }

  /** The oldest message timed out: wait longer for it next time. */
  timedOut(): void {
    this.#backoff = Math.min(this.#backoff * 2, maxTimeoutMs / this.#timeout);
  }

  /**
   * A resent message was acknowledged, so long after it was sent first. It may have been the first that arrived: then the
   * timeout has to be longer than that, or nothing would ever be measured (Karn). More backoff than that has no reason.
   */
  acknowledgedAfter(ms: number): void {
    this.#backoff = Math.max(1, Math.min(this.#backoff, (ms + patienceMs) / this.#timeout));
  }

  /** A new path to the peer: what went unanswered on the old one says nothing. */
  reconnected(): void {
    this.#backoff = 1;
  }

  /** Undefined until the first sample. */
  get smoothed(): number | undefined {
    return this.#measured ? this.#smoothed : undefined;
  }

  /** How long the oldest message waits for its acknowledgement. */
  get timeout(): number {
    return this.#timeout * Math.max(1, this.#backoff);
  }

  /** How long a message waits that was overtaken by later ones: reordering is over after about this long. */
  get reorderWait(): number {
    return Math.min(this.#timeout, this.#smoothed + granularityMs);
  }
}
