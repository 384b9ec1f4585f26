// How long somebody waits for a tunnel, everything included. It may be moved while it runs: an instance that has to be
// started, or a person who is asked for a code, takes longer than ssh's own steps.
import type { Clock, Timer } from '../clock.ts';
import { TransportError } from '../errors.ts';
import { showDuration } from '../settings.ts';

export class Deadline {
  readonly #abort = new AbortController();
  readonly #clock: Clock;
  readonly #host: string;
  readonly #start: number;
  #timer: Timer;

  /** @param ms from now on */
  constructor(clock: Clock, host: string, ms: number) {
    this.#clock = clock;
    this.#host = host;
    this.#start = clock.now();
    this.#timer = clock.after(ms, () => this.#over(ms));
  }

  /** Aborted with TransportError `deadline`. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Moves it to `ms` from now. @returns the same, counted from its start, in whole seconds */
  restart(ms: number): number {
    const fromStart = Math.ceil((this.#clock.now() - this.#start + ms) / 1_000) * 1_000;
    this.#timer.cancel();
    this.#timer = this.#clock.after(ms, () => this.#over(fromStart));
    return fromStart;
  }

  cancel(): void {
    this.#timer.cancel();
  }

  #over(ms: number): void {
    this.#abort.abort(
      new TransportError('deadline', `no connection to ${this.#host} within ${showDuration(ms)}`, {
        hint: 'the deadline can be raised with KEYHOLE_DEADLINE or deadline in the configuration file',
      }),
    );
  }
}
