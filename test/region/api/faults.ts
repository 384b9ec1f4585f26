// Errors to be answered in place of a call's own answer, as many times as asked: throttling, internal errors, tokens
// refused. They are met after the signature and before everything else, like AWS's own.
import { ServiceError } from '../errors.ts';

export interface ApiFault {
  /** AWS's name of the error, e.g. `ThrottlingException`. */
  code: string;
  message?: string;
  /** Default 400. */
  status?: number;
  /** How many calls; default 1. */
  times?: number;
  /** Only calls that name this session. */
  sessionId?: string;
}

export class ApiFaults {
  readonly #pending = new Map<string, (ApiFault & { left: number })[]>();

  /** The next calls of `action` fail; faults of one action are used up in the order given. */
  fail(action: string, fault: ApiFault): void {
    const queue = this.#pending.get(action) ?? [];
    this.#pending.set(action, queue);
    queue.push({ ...fault, left: fault.times ?? 1 });
  }

  clear(): void {
    this.#pending.clear();
  }

  /** Throws the fault that is due. */
  check(action: string, input: { SessionId?: unknown } = {}): void {
    const queue = this.#pending.get(action) ?? [];
    const fault = queue.find(({ sessionId }) => sessionId === undefined || sessionId === input.SessionId);
    if (fault === undefined) return;
    fault.left -= 1;
    if (fault.left <= 0) queue.splice(queue.indexOf(fault), 1);
    throw new ServiceError(fault.code, fault.message ?? '', fault.status);
  }
}
