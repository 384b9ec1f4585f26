// The one timer of what has a next deadline.
import type { Clock, Timer } from '../clock.ts';

export class Alarm {
  readonly #clock: Clock;
  readonly #ring: () => void;
  #timer: Timer | undefined;
  #at = 0;

  /** @param ring finds out whether anything is due: it may be called too early */
  constructor(clock: Clock, ring: () => void) {
    this.#clock = clock;
    this.#ring = ring;
  }

  /**
   * Rings at this time of the clock or before; infinite: never. The next deadline moves away with every message, and a timer that is
   * early costs less than a new one each time.
   */
  set(deadline: number): void {
    if (this.#timer !== undefined && deadline !== Number.POSITIVE_INFINITY && this.#at <= deadline) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    if (deadline === Number.POSITIVE_INFINITY) return;
    this.#at = deadline;
    this.#timer = this.#clock.after(Math.max(0, deadline - this.#clock.now()), () => {
      this.#timer = undefined;
      this.#ring();
    });
  }

  cancel(): void {
    this.set(Number.POSITIVE_INFINITY);
  }
}
