// The daemon's agent sockets: one per target, so that a login waits for its own target's push and reaches its own
// caller's agent, and a general one for clients that can't name a socket per target (design.md section 1, 2).
import { join } from 'node:path';
import type { EphemeralKey, Keyring } from '../agent/keyring.ts';
import { AgentListener, type AgentPolicy } from '../agent/server.ts';
import { sweepSockets } from '../agent/socket-file.ts';
import type { Clock } from '../clock.ts';
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
}

/** What a tunnel wants its target's socket to do. */
export interface AgentWish {
  host: string;
  port: number;
  user: string;
  /** Undefined where no key is pushed. */
  push: Omit<PushRequest, 'publicKey'> | undefined;
  /** The caller's own agent. */
  upstream: string | undefined;
  allowUnbound: boolean;
}

/** Sockets kept; beyond it the one that was wanted longest ago goes. */
const maxSockets = 512;

export class AgentSockets {
  readonly #options: AgentSocketsOptions;
  readonly #folder: string;
  readonly #targets = new Map<string, { listener: Promise<AgentListener>; policy: Policy }>();
  #general: AgentListener | undefined;

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
    sockets.#general = await sockets.#listen(join(options.sshDir, 'agent.sock'), {
      upstream: options.upstream,
      allowUnbound: true,
      // Which target its client means is not known, so nothing can be waited for; where no push was made the key opens nothing.
      key: async () => options.keyring.current(),
    });
    return sockets;
  }

  /** Makes the target's socket do as its newest caller wishes; it is there when this resolves. */
  async serve(wish: AgentWish): Promise<void> {
    const name = `${wish.user}@${wish.host}:${wish.port}`;
    const known = this.#targets.get(name);
    if (known !== undefined) {
      known.policy.wish = wish;
      this.#targets.delete(name); // wanted last
      this.#targets.set(name, known);
      if ((await known.listener).isInPlace()) return;
      // Its file was removed or replaced. Of those who notice together, the first makes it anew.
      if (this.#targets.get(name) !== known) return await this.serve(wish);
    }
    const policy = new Policy(wish, this.#options);
    const listener = this.#listen(join(this.#folder, name), policy);
    this.#targets.set(name, { listener, policy });
    this.#dropOldest();
    try {
      await listener;
    } catch (error) {
      this.#targets.delete(name);
      throw error;
    }
  }

  /** Removes the sockets; connections that are open go on. */
  stop(): void {
    this.#general?.stop();
    for (const { listener } of this.#targets.values()) void stopListener(listener);
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
class Policy implements AgentPolicy {
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

  async key(): Promise<EphemeralKey | undefined> {
    const { push } = this.wish;
    if (push === undefined) return undefined;
    const key = this.#options.keyring.current();
    try {
      await this.#options.keyPush.readyToLogIn({ ...push, publicKey: key.publicLine });
      return key;
    } catch {
      return undefined; // recorded by KeyPush; the caller's own keys may do
    }
  }
}

async function stopListener(listener: Promise<AgentListener>): Promise<void> {
  await listener.then(
    (open) => open.stop(),
    () => {},
  );
}
