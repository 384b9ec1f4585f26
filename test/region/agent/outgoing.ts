// The agent's unacknowledged messages and its resend rule: every 100 ms it looks at the oldest one only
// (protocol.md 4.4, column Agent). No clock: every call says what time it is.

/** Beyond it a message is sent but not stored, so that it is never resent. */
const capacity = 100_000;
/** A sleep of 100 ms takes a little longer, so that the second one is past the initial timeout (observed: 200 ms). */
const resendTickMs = 100.2;
const initialRtoMs = 200;
const maxRtoMs = 1_000;
const clockGranularityMs = 10;

interface Unacknowledged {
  message: Buffer;
  lastSentAt: number;
}

export class Outgoing {
  readonly #messages = new Map<number, Unacknowledged>();
  #nextTick = 0;
  #roundTripMs = 100;
  #variationMs = 0;
  #rtoMs = initialRtoMs;

  get size(): number {
    return this.#messages.size;
  }

  /** When the scheduler looks next at what is outstanding; Infinity where nothing is. */
  get nextTick(): number {
    return this.#messages.size === 0 ? Infinity : this.#nextTick;
  }

  start(now: number): void {
    this.#nextTick = now + resendTickMs;
  }

  add(sequenceNumber: number, message: Buffer, now: number): void {
    if (this.#messages.size >= capacity) return;
    if (this.#messages.size === 0) this.#skipTicks(now);
    this.#messages.set(sequenceNumber, { message, lastSentAt: now });
  }

  /** Without Karn's rule, as observed: the ack of a resent message is a sample too. */
  acknowledged(sequenceNumber: number, now: number): void {
    const entry = this.#messages.get(sequenceNumber);
    if (entry === undefined) return;
    this.#messages.delete(sequenceNumber);
    const sample = now - entry.lastSentAt;
    this.#variationMs = 0.75 * this.#variationMs + 0.25 * Math.abs(this.#roundTripMs - sample);
    this.#roundTripMs = 0.875 * this.#roundTripMs + 0.125 * sample;
    this.#rtoMs = Math.min(maxRtoMs, this.#roundTripMs + Math.max(clockGranularityMs, 4 * this.#variationMs));
  }

  /** The message to resend at this tick, if any. */
  due(now: number): Buffer | undefined {
    if (now < this.nextTick) return undefined;
    this.#skipTicks(now);
    const [oldest] = this.#messages.values();
    if (oldest === undefined || now - oldest.lastSentAt <= this.#rtoMs) return undefined;
    oldest.lastSentAt = now;
    return oldest.message;
  }

  clear(): void {
    this.#messages.clear();
  }

  /** Ticks keep their rhythm from the start of the channel; the next one is after `now`. */
  #skipTicks(now: number): void {
    if (now < this.#nextTick) return;
    this.#nextTick += resendTickMs * (Math.floor((now - this.#nextTick) / resendTickMs) + 1);
  }
}
