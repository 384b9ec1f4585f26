// StartSession is allowed three times a second per account and region (protocol.md 1.1), and many connections may want one
// at once: they wait in line here, first come first served, instead of outshouting each other at AWS.
import { type Clock, sleep } from '../clock.ts';
import { AwsError } from '../errors.ts';

interface Waiting {
  /** In the order in which they came. */
  ticket: number;
  start(): void;
}

export class StartQueue {
  readonly #clock: Clock;
  readonly #perSecond: number;
  readonly #random: () => number;
  readonly #line: Waiting[] = [];
  #tokens: number;
  #refilledAt: number;
  #serving = false;
  #lastTicket = 0;

  /** @param perSecond AWS's quota; as many may start at once, then one after the other */
  constructor(clock: Clock, perSecond: number, random: () => number = Math.random) {
    this.#clock = clock;
    this.#perSecond = perSecond;
    this.#random = random;
    this.#tokens = perSecond;
    this.#refilledAt = clock.now();
  }

  /** How many wait. */
  get length(): number {
    return this.#line.length;
  }

  /**
   * Runs a call when it is its turn, and again, before everybody behind it, when AWS throttles it all the same.
   * @throws what the call throws, or AwsError `throttled` where `signal` ended the wait
   */
  async run<T>(call: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const ticket = ++this.#lastTicket;
    for (;;) {
      await this.#turn(ticket, signal);
      try {
        return await call();
      } catch (error) {
        if (!(error instanceof AwsError) || error.code !== 'throttled' || signal?.aborted) throw error;
        // Somebody else uses the same quota: what we thought was left is not.
        this.#refill();
        this.#tokens = Math.min(this.#tokens, -this.#random());
      }
    }
  }

  #turn(ticket: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        ticket,
        start: () => {
          signal?.removeEventListener('abort', leave);
          resolve();
        },
      };
      const leave = () => {
        const ahead = this.#line.indexOf(waiting);
        if (ahead >= 0) this.#line.splice(ahead, 1);
        reject(this.#stillQueued(ahead));
      };
      const behind = this.#line.findIndex((other) => other.ticket > ticket);
      this.#line.splice(behind < 0 ? this.#line.length : behind, 0, waiting);
      if (signal?.aborted) leave();
      else signal?.addEventListener('abort', leave, { once: true });
      void this.#serve();
    });
  }

  async #serve(): Promise<void> {
    if (this.#serving) return;
    this.#serving = true;
    while (this.#line.length > 0) {
      this.#refill();
      if (this.#tokens >= 1) {
        this.#tokens -= 1;
        this.#line.shift()!.start();
      } else {
        // Whole milliseconds: what rounding leaves of a token is not worth a turn of its own.
        await sleep(this.#clock, Math.ceil(((1 - this.#tokens) / this.#perSecond) * 1000));
      }
    }
    this.#serving = false;
  }

  #refill(): void {
    const now = this.#clock.now();
    this.#tokens = Math.min(this.#perSecond, this.#tokens + ((now - this.#refilledAt) / 1000) * this.#perSecond);
    this.#refilledAt = now;
  }

  #stillQueued(ahead: number): AwsError {
    return new AwsError(
      'throttled',
      `${ahead} connections still wait before this one for AWS, which starts ${this.#perSecond} sessions per second`,
      {
        service: 'ssm',
        apiCode: 'ThrottlingException',
        hint: 'open fewer connections at once, let ssh share one (ControlMaster), or raise deadline',
      },
    );
  }
}
