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
/** A network that is not there is not waited for as long as an AWS that asks for patience. */
const maxNetworkAttempts = 3;
const networkCodes = new Set(['endpoint-unreachable', 'endpoint-timeout', 'tls-failed']);
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
      if (networkCodes.has(error.code) && n >= maxNetworkAttempts) throw error;
      const ms = random() * Math.min(capMs, baseMs * 2 ** n);
      if (clock.now() + ms - start > maxElapsedMs && signal === undefined) throw error;
      await sleep(clock, ms, signal);
      if (signal?.aborted) throw error;
    }
  }
}
