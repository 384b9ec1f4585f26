// Credentials that no other connection has: a profile whose program prints them, and a key at AWS.
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DaemonBench } from './daemon-bench.ts';

export class Credentials {
  /** Of an ssh that is to use them. */
  readonly env: Record<string, string | undefined>;
  readonly #bench: DaemonBench;
  readonly #file: string;
  #accessKeyId = '';

  constructor(bench: DaemonBench, name: string) {
    this.#bench = bench;
    const folder = join(bench.home, '.aws');
    mkdirSync(folder, { recursive: true });
    this.#file = join(folder, `${name}.json`);
    const config = join(folder, `${name}.config`);
    const lines = ['[default]', `region = ${bench.region.region}`, `credential_process = cat "${this.#file}"`];
    writeFileSync(config, `${lines.join('\n')}\n`);
    this.env = { AWS_CONFIG_FILE: config, AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined };
    this.#issue();
  }

  /** They expire, and there are new ones where they came from. */
  renew(): void {
    const before = this.#accessKeyId;
    this.#issue();
    this.#bench.region.identities.expire(before);
  }

  #issue(): void {
    this.#accessKeyId = `AKIA${randomBytes(8).toString('hex').toUpperCase()}`;
    const secretAccessKey = `secret/${randomBytes(17).toString('hex')}`;
    this.#bench.region.identities.add({ accessKeyId: this.#accessKeyId, secretAccessKey });
    const answer = { Version: 1, AccessKeyId: this.#accessKeyId, SecretAccessKey: secretAccessKey };
    writeFileSync(this.#file, JSON.stringify(answer));
  }
}
