// Errors to be answered in place of a call's own answer, as many times as asked: throttling, internal errors, tokens
// refused. They are met after the signature and before everything else, like AWS's own. And answers that come late, to calls
// that have been carried out at once.
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
  readonly #held = new Map<string, Promise<void>>();

  /** The next calls of `action` fail; faults of one action are used up in the order given. */
  fail(action: string, fault: ApiFault): void {
    const queue = this.#pending.get(action) ?? [];
    this.#pending.set(action, queue);
    queue.push({ ...fault, left: fault.times ?? 1 });
  }

  clear(): void {
    this.#pending.clear();
  }

  /** Calls of `action` are carried out, and answered when what is returned here is called. */
  hold(action: string): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#held.set(action, promise);
    return () => {
      this.#held.delete(action);
      resolve();
    };
  }

  /** Resolves when a call that has been carried out may be answered. */
  async answerable(action: string): Promise<void> {
    await this.#held.get(action);
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
