// Request quotas as AWS applies them: a token bucket for each account and action, full at first, which holds one
// second's worth (protocol.md section 11).
import type { Clock } from '../../src/clock.ts';
import { ServiceError } from './errors.ts';

interface Bucket {
  tokens: number;
  filledAt: number;
}

export class Quotas {
  /** Calls per second by action; changeable while the region runs. An action that is not here is not limited. */
  readonly perSecond: Record<string, number>;
  readonly #clock: Clock;
  readonly #buckets = new Map<string, Bucket>();

  constructor(perSecond: Record<string, number>, clock: Clock) {
    this.perSecond = { ...perSecond };
    this.#clock = clock;
  }

  /** Takes one call from the bucket, or throws ThrottlingException with the service's own message. */
  take(account: string, action: string, message = 'Rate exceeded'): void {
    const rate = this.perSecond[action];
    if (rate === undefined) return;
    const now = this.#clock.now();
    const name = `${account} ${action}`;
    const bucket = this.#buckets.get(name) ?? { tokens: rate, filledAt: now };
    this.#buckets.set(name, bucket);
    bucket.tokens = Math.min(rate, bucket.tokens + ((now - bucket.filledAt) / 1000) * rate);
    bucket.filledAt = now;
    if (bucket.tokens < 1) throw new ServiceError('ThrottlingException', message);
    bucket.tokens -= 1;
  }
}
