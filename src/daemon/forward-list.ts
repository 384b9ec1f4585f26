// The local tunnels that are up, on disk, so that the successor of a daemon that handed over, or was killed, brings them up
// again. It holds no secret: a tunnel whose AWS settings are in its caller's environment is not kept.
import { readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { settingsWithoutSecrets } from '../aws/caller.ts';
import { type ForwardRequest, parseForwardRequest } from '../control/message.ts';
import { makeFolder } from '../private-folder.ts';

/** Variables of ours, and where our configuration is. */
const ours = /^(?:KEYHOLE_[A-Z_]+|XDG_CONFIG_HOME)$/;

export class ForwardList {
  readonly #file: string | undefined;
  #entries: ForwardRequest[];

  /** @param file undefined keeps nothing */
  constructor(file: string | undefined) {
    this.#file = file;
    this.#entries = file === undefined ? [] : read(file);
  }

  entries(): ForwardRequest[] {
    return [...this.#entries];
  }

  /** @returns false where it can't be kept without a secret */
  put(request: ForwardRequest): boolean {
    const { env } = request.caller;
    const kept = settingsWithoutSecrets(env);
    if (kept === undefined) return false;
    const own = Object.fromEntries(Object.entries(env).filter(([name]) => ours.test(name)));
    const entry = { ...request, caller: { ...request.caller, env: { ...kept, ...own } } };
    this.#entries = [...this.#entries.filter(({ name }) => name !== request.name), entry];
    this.#write();
    return true;
  }

  remove(wanted: string): void {
    if (!this.#entries.some(({ name }) => name === wanted)) return;
    this.#entries = this.#entries.filter(({ name }) => name !== wanted);
    this.#write();
  }

  clear(): void {
    if (this.#entries.length === 0) return;
    this.#entries = [];
    this.#write();
  }

  /** Never throws: a tunnel must not fail because it can't be noted. */
  #write(): void {
    if (this.#file === undefined) return;
    try {
      if (this.#entries.length === 0) {
        unlinkSync(this.#file);
        return;
      }
      makeFolder(dirname(this.#file));
      writeFileSync(`${this.#file}.new`, JSON.stringify(this.#entries), { mode: 0o600 });
      renameSync(`${this.#file}.new`, this.#file);
    } catch {
      // A full disk, or it is not there.
    }
  }
}

/** What can't be read is left out. */
function read(file: string): ForwardRequest[] {
  try {
    const entries: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return Array.isArray(entries) ? entries.map((entry) => parseForwardRequest(entry)) : [];
  } catch {
    return [];
  }
}
