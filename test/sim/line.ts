// A line that several tunnels share: so many bytes a second, first come first served, and a delay. What waits for it is
// the queue that every keystroke stands behind. Websocket and TCP below deliver in order; what is lost, the gateway lost.
import type { Random } from './random.ts';

export interface LineOptions {
  bytesPerSecond: number;
  /** One way. */
  delayMs: number;
  /** Probability per message. */
  lose?: number;
  /** What passes within the same 20 ms is late by the same time, up to this: a busy machine, a wireless hop. */
  jitterMs?: number;
}

const slotMs = 20;

export class Line {
  #options: LineOptions;
  readonly #random: Random;
  #freeAt = 0;
  #lastAt = 0;
  #lateMs = 0;
  #slotEndsAt = 0;

  constructor(options: LineOptions, random: Random) {
    this.#options = options;
    this.#random = random;
  }

  /** When a message that is sent now arrives; undefined if it is lost, which takes the line's time too. */
  send(bytes: number, now: number): number | undefined {
    const { bytesPerSecond, delayMs, lose = 0, jitterMs = 0 } = this.#options;
    this.#freeAt = Math.max(now, this.#freeAt) + (bytes / bytesPerSecond) * 1000;
    if (this.#random.chance(lose)) return undefined;
    if (jitterMs > 0 && this.#freeAt >= this.#slotEndsAt) {
      this.#lateMs = this.#random.between(0, jitterMs);
      this.#slotEndsAt = this.#freeAt + slotMs;
    }
    this.#lastAt = Math.max(this.#lastAt, this.#freeAt + delayMs + this.#lateMs);
    return this.#lastAt;
  }

  change(options: Partial<LineOptions>): void {
    this.#options = { ...this.#options, ...options };
  }

  /** Nothing passes until then, and nothing is lost. */
  stall(until: number): void {
    this.#freeAt = Math.max(this.#freeAt, until);
  }

  /** How long a message that is sent now waits for those before it. */
  queueMs(now: number): number {
    return Math.max(0, this.#freeAt - now);
  }
}
