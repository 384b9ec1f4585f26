// One client's connection to our agent, as requests and answers (RFC 9987); it opens nothing and reads no clock but the
// one passed in. Two rules are kept here and nowhere else: our key is listed and signs only where `Bindings` says that
// the user's own ssh is asking, and everything that is not our key goes to the caller's own agent as it came.
import { type Clock, sleep } from '../clock.ts';
import { ProtocolError } from '../errors.ts';
import type { Log } from '../log.ts';
import { type Binding, Bindings } from './bindings.ts';
import { type EphemeralKey, type Keyring, keyComment } from './keyring.ts';
import {
  extensionFailure,
  failure,
  type Identity,
  isSessionBind,
  parseIdentitiesAnswer,
  parseRequest,
  type Request,
  requestIdentities,
  type SessionBind,
  serializeIdentitiesAnswer,
  serializeSignResponse,
  success,
} from './message.ts';
import type { Upstream } from './upstream-agent.ts';
import { parseUserauthRequest, type UserauthRequest } from './userauth.ts';

/** Why and when our key is offered on one socket; the daemon's side of the bargain. */
export interface Offer {
  /**
   * Resolves with the key to list once its push is confirmed, or with undefined where there is none to list: the push
   * was refused, or is turned off. Takes as long as that takes; `signal` aborts when nobody waits any more.
   */
  key(signal: AbortSignal): Promise<EphemeralKey | undefined>;
  /** Whether a client that never bound its connection is offered our key (ssh before 8.9, and most that are not ssh). */
  readonly allowUnbound: boolean;
  /**
   * Whether our key may be used for a login to this host; any host where it is left out. With the host keys that AWS
   * vouches for, it ties the key to its target even if somebody else gets hold of the connection.
   */
  accepts?(host: Pick<Binding, 'hostKey' | 'verified'>): boolean;
}

export interface Limits {
  /** How long listing waits for `Offer.key`. */
  offerTimeoutMs: number;
  /** How long listing and binding wait for the caller's agent. Signing does not end: a touch or a PIN takes its time. */
  upstreamTimeoutMs: number;
}

export const defaultLimits: Limits = { offerTimeoutMs: 10_000, upstreamTimeoutMs: 5_000 };

export interface SessionOptions {
  keyring: Keyring;
  offer: Offer;
  /** The caller's own agent, if there is one. Closed with the session. */
  upstream: Upstream | undefined;
  clock: Clock;
  log: Log;
  limits?: Limits;
}

export class AgentSession {
  readonly #options: SessionOptions;
  readonly #limits: Limits;
  readonly #bindings = new Bindings();
  readonly #closed = new AbortController();

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#limits = options.limits ?? defaultLimits;
  }

  /** Answers one request. To be called again only after the answer. Never rejects because of what a peer sent. */
  async answer(message: Buffer): Promise<Buffer> {
    const binds = isSessionBind(message);
    // Also one that can't be understood: the caller's agent restricts its keys once a binding was tried.
    if (binds) await this.#passOn(message, this.#limits.upstreamTimeoutMs);
    let request: Request;
    try {
      request = parseRequest(message);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      if (binds) this.#bindings.refuse();
      this.#options.log('info', 'agent.bad-request', { number: message[0], message: error.message });
      return binds ? extensionFailure : failure;
    }
    switch (request.type) {
      case 'identities':
        return serializeIdentitiesAnswer(await this.#list());
      case 'sign':
        return this.#sign(request) ?? (await this.#passOn(message));
      case 'session-bind':
        return this.#bind(request.bind);
      case 'remove':
        return this.#options.keyring.find(request.keyBlob) ? failure : await this.#passOn(message);
      case 'other':
        return await this.#passOn(message);
    }
  }

  /** Ends what is under way; the answers do not matter any more. */
  close(): void {
    this.#closed.abort();
    this.#options.upstream?.close();
  }

  /** Whether our key exists as far as this client is concerned. */
  get #offered(): boolean {
    const { offer } = this.#options;
    const { state, login } = this.#bindings;
    if (login) return offer.accepts?.(login) ?? true;
    return state === 'unbound' && offer.allowUnbound;
  }

  async #list(): Promise<Identity[]> {
    const [own, others] = await Promise.all([this.#ownKey(), this.#upstreamKeys()]);
    if (own === undefined) return others;
    const first = { keyBlob: own.blob, comment: Buffer.from(keyComment) };
    return [first, ...others.filter(({ keyBlob }) => !keyBlob.equals(own.blob))];
  }

  async #ownKey(): Promise<EphemeralKey | undefined> {
    if (!this.#offered) return undefined;
    const { clock, offer, log } = this.#options;
    const done = new AbortController();
    const signal = AbortSignal.any([this.#closed.signal, done.signal]);
    try {
      return await Promise.race([
        offer.key(signal),
        sleep(clock, this.#limits.offerTimeoutMs, signal).then(() => {
          if (!signal.aborted) log('info', 'agent.offer-timeout');
          return undefined;
        }),
      ]);
    } catch (error) {
      // The push is somebody else's to report; the user's own keys may do.
      log('info', 'agent.offer-failed', { message: (error as Error).message });
      return undefined;
    } finally {
      done.abort();
    }
  }

  async #upstreamKeys(): Promise<Identity[]> {
    const { upstream, log } = this.#options;
    if (upstream === undefined) return [];
    try {
      const answer = await upstream.request(requestIdentities, this.#limits.upstreamTimeoutMs);
      return parseIdentitiesAnswer(answer) ?? [];
    } catch (error) {
      log('info', 'agent.upstream', { message: (error as Error).message });
      return [];
    }
  }

  /**
   * Undefined: the key is not ours. That the key was listed on this very connection is not asked: some clients open
   * another one to sign (ssh2 for Node), and a key that was not pushed opens nothing.
   */
  #sign({ keyBlob, data }: { keyBlob: Buffer; data: Buffer }): Buffer | undefined {
    const { keyring, log } = this.#options;
    const key = keyring.find(keyBlob);
    if (key === undefined) return undefined;
    try {
      if (!this.#offered) throw new ProtocolError('agent-forwarded', 'not over this connection', { side: 'remote' });
      const request = parseUserauthRequest(data);
      if (!request.keyBlob.equals(keyBlob) || request.algorithm !== 'ssh-ed25519') {
        throw new ProtocolError('agent-sign-data', 'a login request for another key', { side: 'remote' });
      }
      const { login } = this.#bindings;
      if (login && !belongsTo(login, request)) {
        throw new ProtocolError('agent-sign-data', 'a login request of another session', { side: 'remote' });
      }
      log('debug', 'agent.signed', { user: request.user });
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      log('info', 'agent.sign-refused', { code: error.code, message: error.message });
      return failure;
    }
    return serializeSignResponse(key.sign(data));
  }

  /** Our word counts, not that of the caller's agent, which may be too old to know the message; ssh ignores either. */
  #bind(bind: SessionBind): Buffer {
    if (this.#bindings.add(bind)) return success;
    this.#options.log('info', 'agent.bind-refused');
    return extensionFailure;
  }

  async #passOn(message: Buffer, timeoutMs?: number): Promise<Buffer> {
    const { upstream, log } = this.#options;
    if (upstream === undefined) return failure;
    try {
      return await upstream.request(message, timeoutMs);
    } catch (error) {
      log('info', 'agent.upstream', { message: (error as Error).message });
      return failure;
    }
  }
}

/** Whether a login request is one of the session to which the connection is bound. */
function belongsTo(login: Binding, request: UserauthRequest): boolean {
  return login.sessionId.equals(request.sessionId) && (request.hostKey?.equals(login.hostKey) ?? true);
}
