// The ephemeral key: made here, held in this process's memory, never written, never exported. It is worth something
// only on an instance to which its public half was pushed in the last minute (protocol.md 9.6), so it needs no
// passphrase and no file; it is replaced now and then so that no key is in use for longer than a setting says.
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { Writer } from '../wire/writer.ts';

const keyType = 'ssh-ed25519';
export const keyComment = 'keyhole';

/**
 * How long a replaced key can still sign: a client may have listed it just before. AWS lets the key in for 60 s after
 * the push; what is signed later is of no use.
 */
export const retiredKeyLifeMs = 120_000;

export class EphemeralKey {
  /** The public key in SSH's encoding (RFC 8709 section 4). */
  readonly blob: Buffer;
  readonly #privateKey: KeyObject;

  constructor() {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    this.#privateKey = privateKey;
    const { x } = publicKey.export({ format: 'jwk' });
    this.blob = new Writer().string(keyType).string(Buffer.from(x!, 'base64url')).finish();
  }

  /** One line of authorized_keys. Without its comment it has 80 characters, the least that EC2 Instance Connect takes. */
  get publicLine(): string {
    return `${keyType} ${this.blob.toString('base64')} ${keyComment}`;
  }

  /** The signature in SSH's encoding (RFC 8709 section 6). */
  sign(data: Buffer): Buffer {
    return new Writer()
      .string(keyType)
      .string(sign(null, data, this.#privateKey))
      .finish();
  }
}

interface Held {
  key: EphemeralKey;
  /** Clock time after which the key is no longer handed out. */
  replaceAt: number;
}

export class Keyring {
  readonly #clock: Clock;
  readonly #lifetimeMs: number;
  /** Oldest first; the last is the current one. */
  #held: Held[] = [];

  constructor(options: { clock: Clock; lifetimeMs: number }) {
    this.#clock = options.clock;
    this.#lifetimeMs = options.lifetimeMs;
  }

  /** The key to push and to list. A new one is made when the old one has had its time. */
  current(): EphemeralKey {
    this.#dropRetired();
    const now = this.#clock.now();
    const newest = this.#held.at(-1);
    if (newest !== undefined && now < newest.replaceAt) return newest.key;
    const key = new EphemeralKey();
    this.#held.push({ key, replaceAt: now + this.#lifetimeMs });
    return key;
  }

  /** The key with this public blob, while it can sign: the current one, or one replaced shortly before. */
  find(blob: Buffer): EphemeralKey | undefined {
    this.#dropRetired();
    return this.#held.find(({ key }) => key.blob.equals(blob))?.key;
  }

  #dropRetired(): void {
    const now = this.#clock.now();
    this.#held = this.#held.filter(({ replaceAt }) => now < replaceAt + retiredKeyLifeMs);
  }
}
