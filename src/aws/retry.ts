// Repeats a call while AWS asks for patience. The SDK's own retries are off, since they count attempts and know
// no deadline: with thirty connections against a quota of three per second, three attempts are not enough.
import { type Clock, sleep } from '../clock.ts';
import { AwsError } from '../errors.ts';

export interface RetryOptions {
  clock: Clock;
  /** Ends the waiting between attempts; cutting an attempt short is the attempt's own business. */
  signal?: AbortSignal | undefined;
  /** In [0, 1). */
  random?: () => number;
}

/** Without a signal: how long after the first attempt a new one may begin. */
const maxElapsedMs = 15_000;
/**
 * What patience does not mend is not tried for as long: a network that is not there, and a clock that stays wrong although
 * AWS's has been learned from its answer.
 */
const maxAttempts: Partial<Record<string, number>> = {
  'endpoint-unreachable': 3,
  'endpoint-timeout': 3,
  'tls-failed': 3,
  'clock-skew': 2,
};
const baseMs = 250;
const capMs = 4_000;

/**
 * Full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"): parallel callers spread out.
 *
 * @throws what the last attempt threw, also when the signal ended a wait: that is the reason to report.
 */
export async function withRetries<T>(attempt: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { clock, signal, random = Math.random } = options;
  const start = clock.now();
  for (let n = 1; ; n++) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof AwsError) || !error.retryable || signal?.aborted) throw error;
      if (n >= (maxAttempts[error.code] ?? Number.POSITIVE_INFINITY)) throw error;
      const ms = random() * Math.min(capMs, baseMs * 2 ** n);
      if (clock.now() + ms - start > maxElapsedMs && signal === undefined) throw error;
      await sleep(clock, ms, signal);
      if (signal?.aborted) throw error;
    }
  }
}
