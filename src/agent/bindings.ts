// What a connection to our agent was bound to: the SSH sessions on whose behalf it speaks (OpenSSH, PROTOCOL.agent
// section 1). ssh 8.9 and later say it first on every connection: once for a login, and again at each hop over which
// the connection is forwarded. Pure. The rules are those of OpenSSH's own agent.
//
// What verifying the host's signature buys: the session that we compare at signing is one that this host really
// entered with this client, so a confused client can't bind itself to a session it made up. It is not what keeps the
// far side of a forwarded agent from our key: no signature covers is_forwarding, and none has to, since the first
// binding comes from the user's own ssh before a byte of the far side can. Hence a host key of a kind that we can't
// verify is taken at its word; a signature that is wrong is not.
import { verifyHostSignature } from './host-key.ts';
import type { SessionBind } from './message.ts';

/** AGENT_MAX_SESSION_IDS and AGENT_MAX_SID_LEN of OpenSSH. */
export const maxBindings = 16;
const maxSessionIdLength = 128;

export class Bindings {
  readonly #bindings: SessionBind[] = [];
  #refused = false;

  /** Records a binding. False: it was refused, and from now on nothing is known for sure about this connection. */
  add(bind: SessionBind): boolean {
    const known = this.#bindings.find(({ sessionId }) => sessionId.equals(bind.sessionId));
    const good =
      bind.sessionId.length > 0 &&
      bind.sessionId.length <= maxSessionIdLength &&
      // After a login nobody else may take the connection over.
      this.#bindings.every(({ isForwarding }) => isForwarding) &&
      (known ? known.hostKey.equals(bind.hostKey) : this.#bindings.length < maxBindings) &&
      verifyHostSignature(bind.hostKey, bind.signature, bind.sessionId) !== 'bad';
    if (!good) this.#refused = true;
    // The same session may be named again, but it stays what it was called first.
    else if (!known) this.#bindings.push(copy(bind));
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

  /** Whether a login request belongs to the session to which the connection is bound. */
  covers(request: { sessionId: Buffer; hostKey: Buffer | undefined }): boolean {
    const last = this.#bindings.at(-1);
    if (last === undefined) return true;
    return last.sessionId.equals(request.sessionId) && (request.hostKey?.equals(last.hostKey) ?? true);
  }
}

/** The parts are views of what was received. */
function copy(bind: SessionBind): SessionBind {
  return { ...bind, hostKey: Buffer.from(bind.hostKey), sessionId: Buffer.from(bind.sessionId) };
}
