// The daemon's agent sockets: one per target, so that a login waits for its own target's push and reaches its own
// caller's agent, and a general one for clients that can't name a socket per target (design.md section 1, 2).
import { join } from 'node:path';
import type { Binding } from '../agent/bindings.ts';
import { plainHostKey } from '../agent/host-key.ts';
import type { EphemeralKey, Keyring } from '../agent/keyring.ts';
import { AgentListener, type AgentPolicy } from '../agent/server.ts';
import { sweepSockets } from '../agent/socket-file.ts';
import type { Clock } from '../clock.ts';
import type { HostKey } from '../hostkeys/host-key.ts';
import type { KeyPush, PushRequest } from '../keypush/key-push.ts';
import type { Log } from '../log.ts';
import { ensurePrivateFolder } from '../private-folder.ts';

export interface AgentSocketsOptions {
  /** `~/.ssh/keyhole`. */
  sshDir: string;
  /** The user's own agent, for the general socket: whose client is there can't be known (the setting `agent.upstream`). */
  upstream: string | undefined;
  keyring: Keyring;
  keyPush: KeyPush;
  clock: Clock;
  log: Log;
  /** Whether the general socket is ours to serve: the daemon's, and not that of one for a single connection. */
  general: boolean;
}

/** What a tunnel wants its target's socket to do. */
export interface AgentWish {
  host: string;
  port: number;
  user: string;
  /** Undefined where no key is pushed. */
  push: Omit<PushRequest, 'publicKey'> | undefined;
  /** The only ones by which the key is offered; undefined where AWS vouches for none: then ssh's own check has to do. */
  hostKeys: readonly HostKey[] | undefined;
  /** The caller's own agent. */
  upstream: string | undefined;
  allowUnbound: boolean;
}

interface Target {
  listener: Promise<AgentListener>;
  policy: TargetPolicy;
}

/** Sockets kept; beyond it the one that was wanted longest ago goes. */
const maxSockets = 512;

export class AgentSockets {
  readonly #options: AgentSocketsOptions;
  readonly #folder: string;
  readonly #targets = new Map<string, Target>();
  #general: AgentListener | undefined;
  #stopped = false;

  private constructor(options: AgentSocketsOptions) {
    this.#options = options;
    this.#folder = join(options.sshDir, 'agent');
  }

  /** Opens the general socket and clears away what a killed daemon left. @throws KeyholeError where no socket can be made */
  static async open(options: AgentSocketsOptions): Promise<AgentSockets> {
    const sockets = new AgentSockets(options);
    ensurePrivateFolder(options.sshDir);
    ensurePrivateFolder(sockets.#folder);
    await sweepSockets(sockets.#folder);
    if (options.general) await sockets.#openGeneral();
    return sockets;
  }

  /** Whether anybody is connected to the general socket. Who uses a target's has a tunnel too. */
  get inUse(): boolean {
    return (this.#general?.connections ?? 0) > 0;
  }

  /** Makes the target's socket do as its newest caller wishes; it is there when this resolves. @throws as AgentListener.open */
  async serve(wish: AgentWish): Promise<void> {
    const name = `${wish.user}@${wish.host}:${wish.port}`;
    for (let known = this.#targets.get(name); known !== undefined; known = this.#targets.get(name)) {
      known.policy.wish = wish;
      this.#targets.delete(name); // wanted last
      this.#targets.set(name, known);
      if (await isInPlace(known.listener)) return;
      if (this.#targets.get(name) === known) this.#targets.delete(name);
      void stopListener(known.listener);
    }
    const policy = new TargetPolicy(wish, this.#options);
    const target = { listener: this.#listen(join(this.#folder, name), policy), policy };
    this.#targets.set(name, target);
    this.#dropOldest();
    try {
      await target.listener;
    } catch (error) {
      if (this.#targets.get(name) === target) this.#targets.delete(name);
      throw error;
    }
  }

  /** Opens the general socket anew where somebody removed it, or another daemon took its name and has gone. Never rejects. */
  async keepOpen(): Promise<void> {
    if (this.#stopped || this.#general === undefined || this.#general.isInPlace()) return;
    const lost = this.#general;
    try {
      await this.#openGeneral();
      await lost.stop();
    } catch (error) {
      this.#options.log('error', 'no general agent socket', { why: String(error) });
    }
  }

  /** Removes the sockets; connections that are open go on. */
  async stop(): Promise<void> {
    this.#stopped = true;
    const targets = [...this.#targets.values()].map(({ listener }) => stopListener(listener));
    await Promise.all([this.#general?.stop(), ...targets]);
  }

  async #openGeneral(): Promise<void> {
    const { sshDir, upstream, keyring } = this.#options;
    this.#general = await this.#listen(join(sshDir, 'agent.sock'), {
      upstream,
      allowUnbound: true,
      // Which target its client means is not known, so nothing can be waited for; where no push was made the key opens nothing.
      key: async () => keyring.current(),
    });
  }

  #listen(path: string, policy: AgentPolicy): Promise<AgentListener> {
    const { keyring, clock, log, sshDir } = this.#options;
    return AgentListener.open({ path, policy, keyring, clock, log, ownFolders: [sshDir, this.#folder] });
  }

  #dropOldest(): void {
    const [oldest] = this.#targets;
    if (oldest === undefined || this.#targets.size <= maxSockets) return;
    this.#targets.delete(oldest[0]);
    void stopListener(oldest[1].listener);
  }
}

/** One target's policy: as its newest caller wished. */
class TargetPolicy implements AgentPolicy {
  wish: AgentWish;
  readonly #options: AgentSocketsOptions;

  constructor(wish: AgentWish, options: AgentSocketsOptions) {
    this.wish = wish;
    this.#options = options;
  }

  get upstream(): string | undefined {
    return this.wish.upstream;
  }

  get allowUnbound(): boolean {
    return this.wish.allowUnbound;
  }

  /** Whoever is in the middle of a connection whose ssh checks nothing gets no login of ours. */
  accepts({ hostKey, verified }: Pick<Binding, 'hostKey' | 'verified'>): boolean {
    const { hostKeys } = this.wish;
    if (hostKeys === undefined) return true;
    const shown = plainHostKey(hostKey)?.toString('base64');
    return verified && hostKeys.some(({ base64 }) => base64 === shown);
  }

  async key(): Promise<EphemeralKey | undefined> {
    const { push } = this.wish;
    if (push === undefined) return undefined;
    const key = this.#options.keyring.current();
    try {
      await this.#options.keyPush.readyToLogIn({ ...push, publicKey: key.publicLine });
      return key;
    } catch {
      return undefined; // told to whoever asked for the push; the caller's own keys may do
    }
  }
}

async function isInPlace(listener: Promise<AgentListener>): Promise<boolean> {
  return await listener.then(
    (open) => open.isInPlace(),
    () => false,
  );
}

async function stopListener(listener: Promise<AgentListener>): Promise<void> {
  await listener.then(
    (open) => open.stop(),
    () => {},
  );
}
