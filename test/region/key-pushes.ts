// The public keys that SendSSHPublicKey put on instances: which of them are valid now, and a record of all there were.
// A key lives for one minute on the region's clock; pushed again, it lives a minute more (protocol.md 9.6). What an
// instance makes of its keys is its own business, see `NodeOptions.publishKeys`.
import type { Clock, Timer } from '../../src/clock.ts';
import { defaults } from './options.ts';

export interface KeyPush {
  /** Milliseconds since 1970, service time. */
  time: number;
  instanceId: string;
  user: string;
  /** One line as it was sent. */
  publicKey: string;
  /** Who signed the call. */
  accessKeyId: string;
  /** The caller's. */
  arn: string;
}

export interface KeyPushSettings {
  /** How long a key is valid; default one minute. */
  lifetimeMs: number;
}

interface Account {
  user: string;
  publish: (user: string, publicKeys: string[]) => void;
  /** By key, when it stops to be valid. */
  keys: Map<string, Timer>;
}

export class KeyPushes {
  /** Every push that was accepted, oldest first. */
  readonly all: KeyPush[] = [];
  /** Changeable while the region runs; a change holds for later pushes. */
  readonly settings: KeyPushSettings;
  readonly #clock: Clock;
  readonly #accounts = new Map<string, Account>();

  constructor(clock: Clock, settings: Partial<KeyPushSettings> = {}) {
    this.#clock = clock;
    this.settings = { ...defaults.keyPushes, ...settings };
  }

  /** The key is valid from now on; `publish` is told so, and again when it is over. */
  add(push: KeyPush, publish: Account['publish']): void {
    this.all.push(push);
    const { instanceId, user, publicKey } = push;
    const name = `${instanceId} ${user}`;
    const account = this.#accounts.get(name) ?? { user, publish, keys: new Map() };
    account.publish = publish; // another sshd may be in the place of the first
    this.#accounts.set(name, account);
    account.keys.get(publicKey)?.cancel();
    const expiry = this.#clock.after(this.settings.lifetimeMs, () => {
      account.keys.delete(publicKey);
      this.#publish(account);
    });
    account.keys.set(publicKey, expiry);
    this.#publish(account);
  }

  /** The keys that are valid now. */
  valid(instanceId: string, user: string): string[] {
    return [...(this.#accounts.get(`${instanceId} ${user}`)?.keys.keys() ?? [])];
  }

  /** The region stops: no timer is left, and no key. */
  stop(): void {
    for (const account of this.#accounts.values()) {
      for (const expiry of account.keys.values()) expiry.cancel();
      account.keys.clear();
      this.#publish(account);
    }
  }

  #publish({ user, publish, keys }: Account): void {
    publish(user, [...keys.keys()]);
  }
}
