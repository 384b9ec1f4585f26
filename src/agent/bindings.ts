// What a connection to our agent was bound to: the SSH sessions on whose behalf it speaks (OpenSSH, PROTOCOL.agent
// section 1). ssh 8.9 and later say it first on every connection: once for a login, and again at each hop over which
// the connection is forwarded. Pure. The rules are those of OpenSSH's own agent.
//
// What verifying the host's signature buys: it shows that this session was entered with the host whose key is named, so
// a login that is signed for it is a login to that host, and the daemon can say which hosts those may be. It is not
// what keeps the far side of a forwarded agent from our key: no signature covers is_forwarding, and none has to, since
// ssh binds the connection before a byte of the far side can. (An ssh before 8.9 does not. Then the far side's
// own binding is the first, and only the host it names can give it away.) A host key of a kind that can't be
// verified is recorded as such; a signature that is wrong is refused.
import { verifyHostSignature } from './host-key.ts';
import type { SessionBind } from './message.ts';

/** A session to which a connection is bound. */
export interface Binding {
  /** In SSH's encoding; may be a certificate. */
  hostKey: Buffer;
  sessionId: Buffer;
  isForwarding: boolean;
  /** Whether the host's signature was verified; false where its kind of key is not known. */
  verified: boolean;
}

/** AGENT_MAX_SESSION_IDS and AGENT_MAX_SID_LEN of OpenSSH. */
export const maxBindings = 16;
const maxSessionIdLength = 128;

export class Bindings {
  readonly #bindings: Binding[] = [];
  #refused = false;

  /** Records a binding. False: it was refused, and from now on nothing is known for sure about this connection. */
  add(bind: SessionBind): boolean {
    const known = this.#bindings.find(({ sessionId }) => sessionId.equals(bind.sessionId));
    const verdict = verifyHostSignature(bind.hostKey, bind.signature, bind.sessionId);
    const good =
      verdict !== 'bad' &&
      bind.sessionId.length > 0 &&
      bind.sessionId.length <= maxSessionIdLength &&
      // After a login nobody else may take the connection over.
      this.#bindings.every(({ isForwarding }) => isForwarding) &&
      (known ? known.hostKey.equals(bind.hostKey) : this.#bindings.length < maxBindings);
    if (!good) this.#refused = true;
    // The same session may be named again, but it stays what it was called first.
    else if (!known) this.#bindings.push(record(bind, verdict === 'good'));
    return good;
  }

  /** Records that the client tried to say something that could not be understood. */
  refuse(): void {
    this.#refused = true;
  }

  /**
   * `unbound`: the client said nothing. `forwarded`: somebody at the far side of a login may be speaking, or it can't
   * be ruled out. `login`: the user's own ssh, about to log in.
   */
  get state(): 'unbound' | 'login' | 'forwarded' {
    if (this.#refused || this.#bindings.some(({ isForwarding }) => isForwarding)) return 'forwarded';
    return this.#bindings.length === 0 ? 'unbound' : 'login';
  }

  /** The session to which ssh is about to log in, in the state `login`. */
  get login(): Binding | undefined {
    return this.state === 'login' ? this.#bindings[0] : undefined;
  }
}

/** Copies, since the parts are views of what was received. */
function record({ hostKey, sessionId, isForwarding }: SessionBind, verified: boolean): Binding {
  return { hostKey: Buffer.from(hostKey), sessionId: Buffer.from(sessionId), isForwarding, verified };
}
