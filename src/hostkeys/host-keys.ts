// Gets the host keys that AWS vouches for into the known_hosts file before ssh looks there (design.md section 1, 3). Asked for
// again about as often as a key is pushed, so that a host that was built anew is known by its new key, and once for however
// many connections ask.
import { randomBytes } from 'node:crypto';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Clock } from '../clock.ts';
import { KeyholeError } from '../errors.ts';
import type { Log } from '../log.ts';
import { ensurePrivateFolder } from '../private-folder.ts';
import { within } from '../within.ts';
import type { HostKey } from './host-key.ts';
import { knownHostsLines, knownHostsName, replaceName } from './known-hosts.ts';
import { fetchHostKeys, type HostKeyApis, type HostKeySource } from './source.ts';

export interface HostKeyRequest {
  /** As ssh calls it. */
  host: string;
  port: number;
  /** `i-…` or `mi-…`. */
  target: string;
  source: HostKeySource;
  /** The caller's; `id` names the settings. */
  aws: HostKeyApis & { readonly id: string };
}

interface Known {
  keys: Promise<HostKey[]>;
  /** On the clock: when they have to be asked for again. */
  staleAt: number;
}

/** As long as a key that EC2 Instance Connect was given serves new connections (keypush/key-push.ts). */
const freshMs = 50_000;
/** Below the deadline of a connection, which may go on without. */
const fetchTimeoutMs = 10_000;
const maxKnown = 500;

export class HostKeys {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #file: string | undefined;
  readonly #known = new Map<string, Known>();
  readonly #stop = new AbortController();

  /** @param file known_hosts; undefined where nothing may be written */
  constructor(clock: Clock, log: Log, file: string | undefined) {
    this.#clock = clock;
    this.#log = log;
    this.#file = file;
  }

  /**
   * Resolves with the keys of the request's target when the file has them, and no others, under the name by which ssh looks.
   * @throws KeyholeError why it has not; the file is as it was then
   */
  async learn(request: HostKeyRequest, signal: AbortSignal): Promise<HostKey[]> {
    const keys = await within(signal, this.#keys(request));
    const name = knownHostsName(request.host, request.port);
    if (this.#file !== undefined) writeName(this.#file, name, knownHostsLines(name, keys, request.target));
    return keys;
  }

  /** Gives up what is under way. */
  close(): void {
    this.#stop.abort(new KeyholeError('interrupted', 'the daemon ends'));
  }

  #keys(request: HostKeyRequest): Promise<HostKey[]> {
    const id = `${request.aws.id} ${request.target} ${request.source}`;
    const known = this.#known.get(id);
    if (known !== undefined && this.#clock.now() < known.staleAt) return known.keys;
    const entry = { keys: this.#fetch(request), staleAt: this.#clock.now() + freshMs };
    entry.keys.catch(() => {
      if (this.#known.get(id) === entry) this.#known.delete(id);
    });
    this.#known.delete(id); // the newest is the last
    this.#known.set(id, entry);
    if (this.#known.size > maxKnown) this.#known.delete(this.#known.keys().next().value!);
    return entry.keys;
  }

  async #fetch({ target, source, aws }: HostKeyRequest): Promise<HostKey[]> {
    const overdue = new AbortController();
    const timer = this.#clock.after(fetchTimeoutMs, () => overdue.abort(takesTooLong(target)));
    const signal = AbortSignal.any([this.#stop.signal, overdue.signal]);
    try {
      const keys = await within(signal, fetchHostKeys(target, source, aws, signal));
      this.#log('info', 'host keys learned', { target, source, keys: keys.length });
      return keys;
    } finally {
      timer.cancel();
    }
  }
}

/** In one turn of the event loop, and whole: ssh reads the file at any time, and writes to it itself. */
function writeName(file: string, name: string, lines: string): void {
  const before = readIfThere(file);
  const after = replaceName(before, name, lines);
  if (after === before) return;
  const fresh = `${file}.${randomBytes(6).toString('hex')}`;
  try {
    ensurePrivateFolder(dirname(file));
    writeFileSync(fresh, after, { encoding: 'latin1', mode: 0o600, flag: 'wx' });
    renameSync(fresh, file);
  } catch (error) {
    rmSync(fresh, { force: true });
    if (error instanceof KeyholeError) throw error;
    throw new KeyholeError('known-hosts', `cannot write ${file}: ${(error as NodeJS.ErrnoException).code}`, {
      cause: error,
    });
  }
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'latin1'); // byte for byte: not all of it is ours
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw new KeyholeError('known-hosts', `cannot read ${file}: ${(error as NodeJS.ErrnoException).code}`, {
      cause: error,
    });
  }
}

function takesTooLong(target: string): KeyholeError {
  return new KeyholeError(
    'host-keys-timeout',
    `AWS did not say within ${fetchTimeoutMs / 1000} s which host keys ${target} has`,
  );
}
