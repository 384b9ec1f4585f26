// A clock that stands still until a test moves it.
import type { Clock, Timer } from '../../src/clock.ts';

export class ManualClock implements Clock {
  #now = 1000;
  #asleepMs = 0;
  #timers = new Set<{ at: number; callback: () => void }>();

  now(): number {
    return this.#now;
  }

  wallTime(): number {
    return 1_700_000_000_000 + this.#now + this.#asleepMs;
  }

  /** The machine sleeps: the monotonic clock stands still, as Linux's does. */
  sleep(ms: number): void {
    this.#asleepMs += ms;
  }

  /** The process is stopped: time goes on, and no timer runs. */
  stop(ms: number): void {
    this.#now += ms;
  }

  after(ms: number, callback: () => void): Timer {
    const timer = { at: this.#now + ms, callback };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  }

  /** How many timers are set. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Moves on, and calls in order of time what became due. */
  advance(ms: number): void {
    const until = this.#now + ms;
    for (;;) {
      const [next] = [...this.#timers].filter(({ at }) => at <= until).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.callback();
    }
    this.#now = until;
  }
}

/** One of the event loop. */
export const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Lets the transport go on past pauses of a clock that stands still. */
export async function moving(clock: ManualClock, stepMs: number, condition: () => boolean): Promise<void> {
  const giveUp = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > giveUp) throw new Error(`it never came to this: ${condition}`);
    clock.advance(stepMs);
    await turn();
  }
}
