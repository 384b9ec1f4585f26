// Gets the daemon's public key onto an instance for its minute, once for however many connections ask (parallel logins
// are throttled otherwise). It knows when a push was made and shares it; how it is made is the pusher's business.
import type { Pusher } from '../aws/pusher.ts';
import type { Clock } from '../clock.ts';
import { KeyholeError } from '../errors.ts';
import type { Log } from '../log.ts';

export interface PushRequest {
  /** Names target and account: pushes with the same name, user and key are one. */
  target: string;
  user: string;
  /** One line, `ssh-ed25519 AAAA…`. */
  publicKey: string;
  pusher: Pusher;
  /** Told why, if the push that this request led to fails; of several requests that share a push, the first is told. */
  failed?(error: KeyholeError): void;
}

export interface PushState {
  target: string;
  user: string;
  state: 'pending' | 'pushed' | 'failed';
  /** Wall time of the last change, ms since 1970. */
  at: number;
  error?: KeyholeError;
}

interface Push extends PushState {
  publicKey: string;
  /** On the clock: how long the key is accepted, from this push or the one before. */
  validUntil: number;
  /** On the clock: how long the failure of a push that failed is shared. */
  refusedUntil: number;
  done: Promise<void>;
}

/** A push that has this much of its time left serves a new connection: one push per 50 s (of SendSSHPublicKey's 60). */
const freshMs = 10_000;
/** And this much must be left when a client is about to log in with it. */
const loginMs = 20_000;
/** A refused push is not tried again for connections that come together, unless the target was not there: it may be now. */
const refusedMs = 2_000;
/** A push that takes longer than any login waits is given up. */
const pushTimeoutMs = 30_000;
/** States kept for `status`. */
const maxStates = 500;

export class KeyPush {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #pushes = new Map<string, Push>();
  readonly #stop = new AbortController();

  constructor(clock: Clock, log: Log) {
    this.#clock = clock;
    this.#log = log;
  }

  /** At the time of the connection, beside the opening of the tunnel. Never rejects: the user's own keys may do. */
  begin(request: PushRequest): void {
    this.#ensure(request, freshMs);
  }

  /** Before a client is offered the key. @throws KeyholeError why it was not pushed */
  async readyToLogIn(request: PushRequest): Promise<void> {
    await this.#ensure(request, loginMs).done;
  }

  states(): PushState[] {
    return [...this.#pushes.values()].map(({ target, user, state, at, error }) => ({
      target,
      user,
      state,
      at,
      ...(error && { error }),
    }));
  }

  /** Gives up what is under way. */
  close(): void {
    this.#stop.abort(new KeyholeError('interrupted', 'the daemon ends'));
  }

  #ensure(request: PushRequest, leftMs: number): Push {
    const name = `${request.user}@${request.target}`;
    const pushed = this.#pushes.get(name);
    const known = pushed?.publicKey === request.publicKey ? pushed : undefined;
    const now = this.#clock.now();
    if (known !== undefined) {
      if (known.state === 'pending') return known;
      if (now < (known.state === 'failed' ? known.refusedUntil : known.validUntil - leftMs)) return known;
    }
    const push: Push = {
      target: request.target,
      user: request.user,
      publicKey: request.publicKey,
      state: 'pending',
      at: this.#clock.wallTime(),
      validUntil: known?.validUntil ?? now,
      refusedUntil: now,
      done: Promise.resolve(),
    };
    push.done = this.#push(request, push);
    push.done.catch(() => {}); // nobody may wait for it
    this.#pushes.delete(name); // the newest is the last
    this.#pushes.set(name, push);
    if (this.#pushes.size > maxStates) this.#pushes.delete(this.#pushes.keys().next().value!);
    return push;
  }

  async #push({ pusher, publicKey, user, target, failed }: PushRequest, push: Push): Promise<void> {
    // The key's time runs from when AWS took it, at the earliest now.
    const started = this.#clock.now();
    const overdue = new AbortController();
    const timer = this.#clock.after(pushTimeoutMs, () => overdue.abort(takesTooLong(target)));
    try {
      await pusher.push(publicKey, user, AbortSignal.any([this.#stop.signal, overdue.signal]));
      push.state = 'pushed';
      push.validUntil = started + pusher.validMs;
      this.#log('info', 'key pushed', { target, user });
    } catch (error) {
      push.state = 'failed';
      push.error = error instanceof KeyholeError ? error : new KeyholeError('push-failed', String(error));
      push.refusedUntil = this.#clock.now() + (push.error.code === 'target-not-connected' ? 0 : refusedMs);
      this.#log('error', 'key push failed', { target, user, code: push.error.code, why: push.error.message });
      failed?.(push.error);
      // The push before still holds: a login can do with what is left of it.
      if (this.#clock.now() >= push.validUntil) throw push.error;
    } finally {
      timer.cancel();
      push.at = this.#clock.wallTime();
    }
  }
}

function takesTooLong(target: string): KeyholeError {
  const instance = target.replace(/^.*\//, '');
  return new KeyholeError(
    'push-timeout',
    `the key could not be pushed to ${instance} within ${pushTimeoutMs / 1000} s`,
  );
}
