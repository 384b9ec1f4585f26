// StartSession is allowed three times a second per account and region, ResumeSession six times (protocol.md 1.1, section 11),
// and many tunnels may want one at once: they wait in line here, first come first served, instead of outshouting each other
// at AWS.
import type { Clock, Timer } from '../clock.ts';
import { AwsError } from '../errors.ts';
import { Quota } from './quota.ts';

interface Waiting {
  /** In the order in which they came. */
  ticket: number;
  /** @param number of the call, for the quota */
  start(number: number): void;
}

export class CallQueue {
  readonly #clock: Clock;
  readonly #tooLong: (ahead: number) => AwsError;
  readonly #quota: Quota;
  readonly #random: () => number;
  readonly #line: Waiting[] = [];
  #timer: Timer | undefined;
  #lastTicket = 0;

  /**
   * @param perSecond AWS's quota; as many may start at once, then one after the other
   * @param tooLong what one throws that has waited in vain, with so many before it
   */
  constructor(
    clock: Clock,
    perSecond: number,
    tooLong: (ahead: number) => AwsError,
    random: () => number = Math.random,
  ) {
    this.#clock = clock;
    this.#tooLong = tooLong;
    this.#quota = new Quota(perSecond);
    this.#random = random;
  }

  /** How many wait. */
  get length(): number {
    return this.#line.length;
  }

  /**
   * Runs a call when it is its turn, and again, before everybody behind it, when AWS throttles it all the same.
   * @throws what the call throws, or that it took too long where `signal` ended the wait
   */
  async run<T>(call: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const ticket = ++this.#lastTicket;
    for (;;) {
      const number = await this.#turn(ticket, signal);
      let isThrottled = false;
      try {
        return await call();
      } catch (error) {
        isThrottled = error instanceof AwsError && error.code === 'throttled';
        if (!isThrottled || signal?.aborted) throw error;
      } finally {
        if (isThrottled) this.#quota.throttled(number, this.#clock.now(), this.#random());
        else this.#quota.answered(number, this.#clock.now());
        this.#serve();
      }
    }
  }

  /** Resolves with the number of the call when it is its turn. */
  #turn(ticket: number, signal: AbortSignal | undefined): Promise<number> {
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        ticket,
        start: (number) => {
          signal?.removeEventListener('abort', leave);
          resolve(number);
        },
      };
      const leave = () => {
        const ahead = this.#line.indexOf(waiting);
        if (ahead >= 0) this.#line.splice(ahead, 1);
        reject(this.#tooLong(ahead));
      };
      const behind = this.#line.findIndex((other) => other.ticket > ticket);
      this.#line.splice(behind < 0 ? this.#line.length : behind, 0, waiting);
      if (signal?.aborted) leave();
      else signal?.addEventListener('abort', leave, { once: true });
      this.#serve();
    });
  }

  #serve(): void {
    this.#timer?.cancel();
    for (;;) {
      const now = this.#clock.now();
      const waitMs = this.#quota.nextAt(now) - now;
      if (this.#line.length === 0) return;
      if (waitMs > 0) {
        this.#timer = this.#clock.after(waitMs, () => this.#serve());
        return;
      }
      this.#line.shift()!.start(this.#quota.send(now));
    }
  }
}

export function startQueue(clock: Clock, perSecond: number, random?: () => number): CallQueue {
  const tooLong = (ahead: number) =>
    throttled(
      `${ahead} connections still wait before this one for AWS, which starts ${perSecond} sessions per second`,
      'open fewer connections at once, let ssh share one (ControlMaster), or raise deadline',
    );
  return new CallQueue(clock, perSecond, tooLong, random);
}

/** AWS's quota (protocol.md section 11). */
const resumesPerSecond = 6;

export function resumeQueue(clock: Clock): CallQueue {
  const tooLong = (ahead: number) =>
    throttled(`${ahead} sessions still wait before this one for AWS, which resumes ${resumesPerSecond} per second`);
  return new CallQueue(clock, resumesPerSecond, tooLong);
}

function throttled(message: string, hint?: string): AwsError {
  const details = { service: 'ssm', apiCode: 'ThrottlingException', retryable: true };
  return new AwsError('throttled', message, { ...details, ...(hint !== undefined && { hint }) });
}
