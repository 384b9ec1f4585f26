// Tunnels that are begun for who has knocked (knocks.ts) and not asked yet, until their caller comes, or will not.
import type { Clock } from '../clock.ts';
import type { OpenRequest } from '../control/message.ts';
import { isProcessAlive, processStart } from '../process-life.ts';
import { CallerLine } from './caller-line.ts';
import { isSame, KnownRequests } from './knocks.ts';
import type { Tunnel } from './tunnel.ts';

export interface Begun {
  tunnel: Tunnel;
  line: CallerLine;
  /** Nothing is left of it. */
  over: Promise<void>;
}

/** Who knocked and does not come is not waited for; a start of Node takes a tenth of a second. */
const comesWithinMs = 10_000;
/** How often a process that knocked is looked after: one that was killed must not keep a session for 3 s. */
const lookMs = 250;

export class EarlyTunnels {
  readonly #clock: Clock;
  readonly #begin: (request: OpenRequest, line: CallerLine) => Begun;
  readonly #known: KnownRequests;
  /** By process id. */
  readonly #expected = new Map<number, Begun & { request: OpenRequest }>();

  constructor(clock: Clock, begin: (request: OpenRequest, line: CallerLine) => Begun) {
    this.#clock = clock;
    this.#begin = begin;
    this.#known = new KnownRequests(clock);
  }

  /** The process is about to ask for something: for what, has to be known. */
  begin(pid: number): void {
    if (this.#expected.has(pid)) return;
    const request = this.#known.recall(pid);
    if (request === undefined) return;
    this.#expected.set(pid, { request, ...this.#begin(request, new CallerLine()) });
    this.#lookAfter(pid);
  }

  /** What was begun for the process that asks now; if that is not what it asks for, it is ended. */
  take(request: OpenRequest): Begun | undefined {
    const { pid } = request.caller;
    const expected = this.#expected.get(pid);
    if (expected === undefined) return undefined;
    if (isSame(expected.request, request)) {
      this.#expected.delete(pid);
      return expected;
    }
    this.#giveUp(pid);
    return undefined;
  }

  /** It was asked for, and is being opened. */
  remember(request: OpenRequest): void {
    this.#known.remember(request);
  }

  /** It came to nothing. */
  forget(request: OpenRequest): void {
    this.#known.forget(request);
  }

  /** Nobody comes here any more. */
  giveUp(): void {
    for (const pid of this.#expected.keys()) this.#giveUp(pid);
  }

  #lookAfter(pid: number): void {
    const expected = this.#expected.get(pid);
    const start = processStart(pid);
    const until = this.#clock.now() + comesWithinMs;
    const look = () => {
      if (this.#expected.get(pid) !== expected) return;
      if (this.#clock.now() < until && isProcessAlive(pid, start)) this.#clock.after(lookMs, look);
      else this.#giveUp(pid);
    };
    this.#clock.after(lookMs, look);
  }

  #giveUp(pid: number): void {
    this.#expected.get(pid)?.line.giveUp();
    this.#expected.delete(pid);
  }
}
