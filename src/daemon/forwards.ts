// The daemon's local tunnels. Those with a name stay until `keyhole down` or the end of the daemon, the others as long as
// whoever asked for them.

import { sleep } from '../clock.ts';
import type { ForwardRequest } from '../control/message.ts';
import { KeyholeError } from '../errors.ts';
import { Forward, type ForwardStatus, type Resolve } from './forward.ts';
import type { DaemonParts } from './parts.ts';
import { unexpectedError } from './tunnel.ts';

/** For a daemon that hands over, to close its listeners. */
const handOverMs = 5_000;
const retryMs = 100;

export class Forwards {
  readonly #parts: DaemonParts;
  readonly #onEmpty: () => void;
  readonly #forwards = new Map<number, Forward>();
  #lastId = 0;

  /** @param onEmpty the last one has gone */
  constructor(parts: DaemonParts, onEmpty: () => void) {
    this.#parts = parts;
    this.#onEmpty = onEmpty;
  }

  get size(): number {
    return this.#forwards.size;
  }

  status(): ForwardStatus[] {
    return [...this.#forwards.values()].map((forward) => forward.status());
  }

  /**
   * A tunnel that listens. One that is up already under the same name with the same ends is given as it is.
   * @throws KeyholeError `forward-exists`, what Forward and LocalListener throw, and errors of AWS settings
   */
  async open(request: ForwardRequest, resolve: Resolve): Promise<Forward> {
    const known = request.name === undefined ? undefined : this.#find(request.name);
    if (known !== undefined) {
      if (isSame(known.request, request)) return known;
      throw exists(request.name!);
    }
    const forward = new Forward(++this.#lastId, request, this.#parts, resolve);
    this.#forwards.set(forward.id, forward);
    forward.onDrained = () => void this.close(forward);
    try {
      await forward.open();
    } catch (error) {
      this.#remove(forward);
      throw error;
    }
    if (request.detached) {
      const { caller } = request;
      forward.detach((wanted) => this.#parts.resolveAws(caller, wanted));
      if (request.name !== undefined) this.#parts.forwardList.put(request);
    }
    return forward;
  }

  /** Brings up what a predecessor had up. What does not come up is recorded, and not tried again. Never rejects. */
  async reopen(): Promise<void> {
    const { forwardList, resolveAws, recordFailure, log } = this.#parts;
    const reopenOne = async (request: ForwardRequest) => {
      try {
        await this.#openInPlace(request, (wanted) => resolveAws(request.caller, wanted));
      } catch (error) {
        const failure = error instanceof KeyholeError ? error : unexpectedError(error);
        log('error', 'tunnel not up again', { name: request.name, code: failure.code, why: failure.message });
        recordFailure({ host: request.host, port: '-' }, failure);
        forwardList.remove(request.name!);
      }
    };
    await Promise.all(forwardList.entries().map(reopenOne));
  }

  /** A predecessor may need a moment to leave its place. */
  async #openInPlace(request: ForwardRequest, resolve: Resolve): Promise<void> {
    const { clock } = this.#parts;
    for (const until = clock.now() + handOverMs; ; await sleep(clock, retryMs)) {
      try {
        await this.open(request, resolve);
        return;
      } catch (error) {
        if (!(error instanceof KeyholeError) || error.code !== 'port-in-use' || clock.now() >= until) throw error;
      }
    }
  }

  /** Resolves when nothing is left of it. */
  async close(forward: Forward): Promise<void> {
    await forward.close();
    this.#remove(forward);
  }

  /** @param names none for all that have one. @returns those that were up. @throws KeyholeError `forward-unknown` */
  async down(names: string[]): Promise<string[]> {
    const unknown = names.find((name) => this.#find(name) === undefined);
    if (unknown !== undefined) throw notUp(unknown);
    const wanted = [...this.#forwards.values()].filter(
      ({ request: { name } }) => name !== undefined && (names.length === 0 || names.includes(name)),
    );
    for (const { request } of wanted) this.#parts.forwardList.remove(request.name!);
    await Promise.all(wanted.map((forward) => this.close(forward)));
    return wanted.map(({ request }) => request.name!);
  }

  /** No new connections; a tunnel goes when its last one has. */
  drain(): void {
    for (const forward of this.#forwards.values()) if (forward.request.detached) forward.drain();
  }

  closeAll(): void {
    for (const forward of this.#forwards.values()) void this.close(forward);
  }

  #find(wanted: string): Forward | undefined {
    return [...this.#forwards.values()].find(({ request }) => request.name === wanted);
  }

  #remove(forward: Forward): void {
    if (this.#forwards.delete(forward.id) && this.#forwards.size === 0) this.#onEmpty();
  }
}

function isSame(one: ForwardRequest, other: ForwardRequest): boolean {
  const what = ({ host, forwardings, expose, flags }: ForwardRequest) =>
    JSON.stringify([host, forwardings, expose, flags]);
  return what(one) === what(other);
}

function exists(name: string): KeyholeError {
  return new KeyholeError('forward-exists', `the tunnel ${name} is up already, and leads elsewhere`, {
    hint: `keyhole down ${name} ends it`,
  });
}

function notUp(name: string): KeyholeError {
  return new KeyholeError('forward-unknown', `no tunnel ${name} is up`, {
    hint: 'keyhole status shows those that are',
  });
}
