// Time, passed in: protocol code never reads a clock, and the code around it reads this one,
// so that tests and the simulation own time.

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds from an arbitrary origin; never goes back. For durations and deadlines. */
  now(): number;
  /** Milliseconds since 1970 (UTC). For what is written on the wire or shown to people. */
  wallTime(): number;
  /** Calls back once, `ms` milliseconds from now; the system's clock counts whole ones, and may be one too early. */
  after(ms: number, callback: () => void): Timer;
}

export const systemClock: Clock = {
  // As performance.now(), whose module would cost a helper a millisecond.
  now: () => process.uptime() * 1000,
  wallTime: () => Date.now(),
  after(ms, callback) {
    // Node cuts off the fraction: what is set for 3.98 would ring at 3 as a rule, and have to be set again.
    const handle = setTimeout(callback, Math.ceil(ms));
    return { cancel: () => clearTimeout(handle) };
  },
};

/** Resolves after `ms` milliseconds, or at once when `signal` aborts. Never rejects. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const finish = () => {
      timer.cancel();
      signal?.removeEventListener('abort', finish);
      resolve();
    };
    const timer = clock.after(ms, finish);
    signal?.addEventListener('abort', finish, { once: true });
  });
}
