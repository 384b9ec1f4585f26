// Gets a session its next socket (protocol.md section 7): resumes it at AWS and dials, again and again, until a socket is
// open, the reason is final, or the time is over. It hurries when the network changes, and says what stands in the way.
import { type Clock, sleep } from '../clock.ts';
import type { KeyholeError } from '../errors.ts';
import type { Log } from '../log.ts';
import { Backoff } from './backoff.ts';
import { asKeyholeError, isWorthRetrying, needsUser, notInTime, notResumed, outlookOf } from './failures.ts';
import type { GatewaySocket } from './gateway.ts';
import type { Session } from './session.ts';

export interface RedialOptions {
  session: Session;
  clock: Clock;
  log: Log;
  target: string;
  /** How long a cut session is tried to be resumed. */
  resumeTimeoutMs: number;
  /** It can't go on until the user has done something; once for each cut. */
  onNeedsUser(failure: KeyholeError): void;
}

/** For a call, its place in the line, and a dial. */
const tryTimeoutMs = 30_000;
/** When the network is another one, a try that is older is begun again: its packets may go nowhere. */
const freshTryMs = 1_000;
/** Refusals in a row that nobody knows to pass. */
const maxRefusals = 3;

type Step = { kind: 'pause' | 'try'; since: number; stop: AbortController };

export class Redial {
  readonly #options: RedialOptions;
  readonly #backoff: Backoff;
  #step: Step | undefined;
  #failure: KeyholeError | undefined;
  #refusals = 0;
  #hasToldUser = false;

  constructor(options: RedialOptions) {
    this.#options = options;
    this.#backoff = new Backoff(options.resumeTimeoutMs);
  }

  /** What stands in the way; undefined where nothing is known to. */
  get failure(): KeyholeError | undefined {
    return this.#failure;
  }

  /** A socket was lost, for this reason. */
  lost(failure: KeyholeError): void {
    this.#failure = failure;
  }

  /** What comes next is another trouble, with a time of its own. */
  recovered(): void {
    this.#backoff.reset();
    this.#failure = undefined;
    this.#refusals = 0;
    this.#hasToldUser = false;
  }

  /** Things may be better now: no pause goes on. */
  hurry(): void {
    this.#backoff.hurry();
    if (this.#step?.kind === 'pause') this.#step.stop.abort();
  }

  /** The network may be another one: nor does a try that began on the old one. */
  startOver(): void {
    this.hurry();
    const step = this.#step;
    if (step?.kind === 'try' && this.#options.clock.now() - step.since >= freshTryMs) step.stop.abort();
  }

  /**
   * The first socket, with the token of StartSession, or of a resumed session where that one does not do.
   * @throws KeyholeError, as soon as no other try is known to help: somebody waits for the tunnel to open
   */
  first(signal: AbortSignal): Promise<GatewaySocket> {
    return this.#connect(1, (failure) => !isWorthRetrying(failure), signal);
  }

  /** Another one for a session that has had one. @throws KeyholeError where there will be none */
  next(isOpen: boolean, signal: AbortSignal): Promise<GatewaySocket> {
    return this.#connect(0, (failure) => (isOpen ? this.#isFinal(failure) : !isWorthRetrying(failure)), signal);
  }

  /** @param withoutResume tries for which the session need not be resumed */
  async #connect(
    withoutResume: number,
    isFinal: (failure: KeyholeError) => boolean,
    signal: AbortSignal,
  ): Promise<GatewaySocket> {
    const { clock, log, session, target, resumeTimeoutMs } = this.#options;
    for (let tries = 0; ; tries++) {
      const pause = this.#backoff.next(clock.now());
      if (pause === undefined) throw notResumed(target, resumeTimeoutMs, this.#failure);
      if (pause > 0) await this.#under('pause', signal, (bound) => sleep(clock, pause, bound));
      try {
        signal.throwIfAborted();
        const socket = await this.#under('try', signal, (bound) => this.#try(tries >= withoutResume, bound));
        if (socket !== undefined) return socket;
      } catch (error) {
        if (signal.aborted) throw error;
        const failure = asKeyholeError(error);
        log('info', 'connect failed', { session: session.id, code: failure.code, why: failure.message });
        this.#failure = failure;
        if (isFinal(failure)) throw failure;
        this.#tellUser(failure);
      }
    }
  }

  /** @returns undefined where hurry() or startOver() ended it */
  async #under<T>(
    kind: Step['kind'],
    signal: AbortSignal,
    action: (bound: AbortSignal) => Promise<T>,
  ): Promise<T | undefined> {
    const step = { kind, since: this.#options.clock.now(), stop: new AbortController() };
    this.#step = step;
    try {
      return await action(AbortSignal.any([signal, step.stop.signal]));
    } catch (error) {
      if (step.stop.signal.aborted) return undefined;
      throw error;
    } finally {
      this.#step = undefined;
    }
  }

  async #try(resumes: boolean, signal: AbortSignal): Promise<GatewaySocket> {
    const { clock, session } = this.#options;
    const overdue = new AbortController();
    const timer = clock.after(tryTimeoutMs, () => overdue.abort());
    const bound = AbortSignal.any([signal, overdue.signal]);
    try {
      if (resumes && session.canResume) await session.resume(bound);
      return await session.dial(bound);
    } catch (error) {
      throw overdue.signal.aborted ? notInTime(tryTimeoutMs) : error;
    } finally {
      timer.cancel();
    }
  }

  #isFinal(failure: KeyholeError): boolean {
    const outlook = outlookOf(failure);
    this.#refusals = outlook === 'unclear' ? this.#refusals + 1 : 0;
    return outlook === 'final' || this.#refusals >= maxRefusals;
  }

  #tellUser(failure: KeyholeError): void {
    if (this.#hasToldUser || !needsUser(failure)) return;
    this.#hasToldUser = true;
    this.#options.onNeedsUser(failure);
  }
}
