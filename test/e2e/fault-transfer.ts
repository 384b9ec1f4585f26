// One transfer through one ssh that has to survive something: it waits for its start when ssh is connected, says how far
// it is, and is checked at its end: all bytes, by the same ssh, in one session.
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import type { Test } from 'tap';
import type { Session } from '../region/sessions.ts';
import type { DaemonBench } from './daemon-bench.ts';
import { type Running, until } from './fixture.ts';
import type { Direction } from './transfer.ts';

/** The bytes of all transfers of a bench. */
export class Freight {
  readonly up: Buffer;
  readonly down: Buffer;
  /** On the instance. */
  readonly file: string;

  constructor(bench: DaemonBench, { upBytes, downBytes }: { upBytes: number; downBytes: number }) {
    this.up = randomBytes(upBytes);
    this.down = randomBytes(downBytes);
    this.file = bench.path('download');
    if (!existsSync(this.file)) writeFileSync(this.file, this.down);
  }
}

export interface TransferOptions {
  bench: DaemonBench;
  freight: Freight;
  direction: Direction;
  host: string;
  env?: Record<string, string | undefined> | undefined;
  /** After which ssh is killed. */
  timeoutMs: number;
}

const ready = 'ready\n';

/** So many logins at once leave a machine of two cores time for the daemon and for AWS. */
const openAtOnce = 6;

/** Starts as many transfers as places are given, and resolves when all of them are connected. */
export async function openTransfers(places: TransferOptions[]): Promise<Transfer[]> {
  const transfers: Transfer[] = [];
  let next = 0;
  const open = async () => {
    while (next < places.length) {
      const at = next++;
      transfers[at] = new Transfer(places[at]!);
      await transfers[at].isReady();
    }
  };
  await Promise.all(Array.from({ length: openAtOnce }, open));
  return transfers;
}

export class Transfer {
  readonly #options: TransferOptions;
  readonly #ssh: Running;
  #sentBefore = 0;

  /** Starts ssh. */
  constructor(options: TransferOptions) {
    this.#options = options;
    const { bench, freight, direction, host, env = {}, timeoutMs } = options;
    const command =
      direction === 'up' ? 'echo ready; exec sha256sum' : `echo ready; read go; exec cat "${freight.file}"`;
    this.#ssh = bench.start('ssh', ['-F', bench.config, host, command], { input: 'open', env, timeoutMs });
  }

  /** Connected, and nothing is under way. */
  async isReady(): Promise<void> {
    const { timeoutMs } = this.#options;
    await until('ssh is ready', () => this.#ssh.stdout().includes(ready) || this.hasEnded, timeoutMs);
  }

  get hasEnded(): boolean {
    return this.#ssh.child.exitCode !== null;
  }

  /** The one session with its instance. */
  get session(): Session {
    const { bench, host } = this.#options;
    const sessions = bench.region.sessions.filter(({ target }) => target === host);
    if (sessions.length !== 1) throw new Error(`${sessions.length} sessions with ${host}`);
    return sessions[0]!;
  }

  begin(): void {
    const { direction, freight } = this.#options;
    this.#sentBefore = this.session.traffic[direction].bytes;
    if (direction === 'up') this.#ssh.child.stdin.end(freight.up);
    else this.#ssh.child.stdin.end('go\n');
  }

  /** How much of it has come to the gateway so far, from 0 to 1 or, with what was sent twice, more. */
  get share(): number {
    const { direction, freight } = this.#options;
    return (this.session.traffic[direction].bytes - this.#sentBefore) / freight[direction].length;
  }

  async hasReached(share: number): Promise<void> {
    const { timeoutMs } = this.#options;
    await until('the transfer is under way', () => this.share >= share || this.hasEnded, timeoutMs);
  }

  /** Resolves when it has been checked. */
  async check(t: Test): Promise<void> {
    const { direction, freight } = this.#options;
    const { session } = this;
    const { status, stdout, stderr } = await this.#ssh.exit;
    t.equal(status, 0, 'ssh ends well');
    // Not all of stderr: it has what the login shells of this machine say when many start at once.
    t.notMatch(stderr, /keyhole|^ssh|^client_loop|^Connection/m, 'in silence');
    const result = stdout.subarray(stdout.indexOf(ready) + ready.length);
    const [sum, expected] =
      direction === 'up'
        ? [result.toString().slice(0, 64), sha256(freight.up)]
        : [sha256(result), sha256(freight.down)];
    t.equal(sum, expected, 'all bytes have arrived');
    t.equal(this.session, session, 'in one session');
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
