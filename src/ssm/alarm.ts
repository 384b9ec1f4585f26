// Rings for what has a next deadline. That moves with every message that comes or goes, and a timer that is set anew each time
// costs more than one that now and then rings for nothing.
import type { Clock, Timer } from '../clock.ts';

export class Alarm {
  readonly #clock: Clock;
  readonly #ring: () => void;
  /** The nearest first. Two at most: a retransmission's stays while an acknowledgement's comes and goes in front of it. */
  readonly #timers: { at: number; timer: Timer }[] = [];

  /** @param ring finds out whether anything is due: it may be called too early, or when nothing is to come any more */
  constructor(clock: Clock, ring: () => void) {
    this.#clock = clock;
    this.#ring = ring;
  }

  /** Rings at this time of the clock, and perhaps before; infinite: it need not ring. */
  set(deadline: number): void {
    const timers = this.#timers;
    if (deadline === Number.POSITIVE_INFINITY || (timers.length > 0 && timers[0]!.at <= deadline)) return;
    if (timers.length === 2) timers.shift()!.timer.cancel();
    const timer = this.#clock.after(Math.max(0, deadline - this.#clock.now()), () => {
      // Not the first where both are due and were set for whole milliseconds.
      timers.splice(timers.indexOf(set), 1);
      this.#ring();
    });
    const set = { at: deadline, timer };
    timers.unshift(set);
  }

  /** It does not ring any more. */
  cancel(): void {
    for (const { timer } of this.#timers.splice(0)) timer.cancel();
  }
}
