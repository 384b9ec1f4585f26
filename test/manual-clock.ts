// A clock that tests move. Nothing happens by itself: advance() runs what has become due, in order.
import type { Clock, Timer } from '../src/clock.ts';

interface Entry {
  at: number;
  callback: () => void;
}

export class ManualClock implements Clock {
  #now = 0;
  readonly #entries = new Set<Entry>();
  readonly #epoch: number;

  constructor(epoch: number = Date.UTC(2026, 0, 2, 3, 4, 5)) {
    this.#epoch = epoch;
  }

  now(): number {
    return this.#now;
  }

  wallTime(): number {
    return this.#epoch + this.#now;
  }

  after(ms: number, callback: () => void): Timer {
    const entry = { at: this.#now + ms, callback };
    this.#entries.add(entry);
    return { cancel: () => this.#entries.delete(entry) };
  }

  /** How many timers are set. */
  get pending(): number {
    return this.#entries.size;
  }

  /** Moves the time on, giving promises a turn after each timer that fires. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    await turn();
    for (;;) {
      const next = [...this.#entries].filter((entry) => entry.at <= until).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#entries.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.callback();
      await turn();
    }
    this.#now = until;
  }
}

/** Lets everything run that is ready to. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
