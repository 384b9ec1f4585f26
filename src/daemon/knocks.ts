// Half of a warm connection is the start of Node. So the launcher knocks before it becomes Node: it makes an empty file, named
// by its process id, in a folder that is there while a daemon listens. What this process will ask for is known if one with the
// same arguments, environment and folder asked before; the tunnel is then begun at once, and given to it when it comes and asks
// for just that. Linux: elsewhere nobody can be looked at, and nobody knocks. Nothing but time depends on any of it.
import { createHash } from 'node:crypto';
import { type FSWatcher, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, unlinkSync, watch } from 'node:fs';
import { join } from 'node:path';
import { wholeSurroundingsKey } from '../aws/caller.ts';
import type { Clock } from '../clock.ts';
import type { OpenRequest } from '../control/message.ts';
import { knockFolder } from '../paths.ts';
import { assertPrivateFolder } from '../private-folder.ts';

/** What was asked so long ago is forgotten, with the secrets that its environment may hold. */
const forgetAfterMs = 3_600_000;
const maxRequests = 64;

/** Opens the door: the folder, and the ear at it. Undefined where there can be none. */
export function listenForKnocks(sshDir: string, onKnock: (pid: number) => void): { close(): void } | undefined {
  if (process.platform !== 'linux') return undefined;
  const folder = join(sshDir, knockFolder);
  let watcher: FSWatcher;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    assertPrivateFolder(folder);
    watcher = watch(folder, { persistent: false }, (_event, name) => {
      if (name !== null && takeKnock(folder, name)) onKnock(Number(name));
    });
  } catch {
    rmSync(folder, { recursive: true, force: true });
    return undefined; // a full disk, no watches left
  }
  const close = () => {
    watcher.close();
    rmSync(folder, { recursive: true, force: true });
  };
  watcher.on('error', close);
  // Of launchers that knocked when nobody listened.
  for (const name of readdirSync(folder)) takeKnock(folder, name);
  return { close };
}

/** Whether it was there: a removal is told as a making is, and another daemon may have been quicker. */
function takeKnock(folder: string, name: string): boolean {
  try {
    unlinkSync(join(folder, name));
    return /^[1-9]\d*$/.test(name);
  } catch {
    return false;
  }
}

/** Requests by what can be seen of a process before it asks. */
export class KnownRequests {
  readonly #clock: Clock;
  readonly #look: (pid: number) => string | undefined;
  /** In the order of their use. */
  readonly #requests = new Map<string, { request: OpenRequest; usedAt: number }>();

  constructor(clock: Clock, look: (pid: number) => string | undefined = lookAt) {
    this.#clock = clock;
    this.#look = look;
  }

  /** A process has got what it asked for. */
  remember(request: OpenRequest): void {
    const seen = this.#look(request.caller.pid);
    if (seen === undefined) return;
    this.#requests.delete(seen);
    this.#requests.set(seen, { request, usedAt: this.#clock.now() });
    this.#forgetOld();
  }

  /** It has not: the next one like it is not served before it asks. */
  forget(request: OpenRequest): void {
    for (const [seen, known] of this.#requests) if (isSame(known.request, request)) this.#requests.delete(seen);
  }

  /** What the process will ask for, if it is like one that asked before. */
  recall(pid: number): OpenRequest | undefined {
    this.#forgetOld();
    if (this.#requests.size === 0) return undefined;
    const request = this.#requests.get(this.#look(pid) ?? '')?.request;
    return request && { ...request, caller: { ...request.caller, pid, parentPid: pid } };
  }

  #forgetOld(): void {
    const now = this.#clock.now();
    for (const [seen, { usedAt }] of this.#requests) {
      if (now - usedAt < forgetAfterMs && this.#requests.size <= maxRequests) return;
      this.#requests.delete(seen);
    }
  }
}

/** Whether what was begun for the one is what the other wants. How it is handed over is not decided before that. */
export function isSame(a: OpenRequest, b: OpenRequest): boolean {
  return content(a) === content(b);
}

function content({ host, port, user, flags, upstreamAgent, caller }: OpenRequest): string {
  const options = Object.entries(flags).sort();
  return JSON.stringify([host, port, user, options, upstreamAgent, wholeSurroundingsKey(caller, {})]);
}

/**
 * The arguments of `proxy`, the folder and the environment of a process, as one word without secrets; before it is Node and
 * after. Undefined where there is no such process, or not of this program.
 */
function lookAt(pid: number): string | undefined {
  try {
    const args = readWords(pid, 'cmdline');
    const verb = args.indexOf('proxy');
    if (verb < 0) return undefined;
    const env = Object.fromEntries(readWords(pid, 'environ').map(splitVariable).filter(isKept));
    const cwd = readlinkSync(`/proc/${pid}/cwd`);
    return createHash('sha256')
      .update(JSON.stringify([args.slice(verb), wholeSurroundingsKey({ env, cwd }, {})]))
      .digest('hex');
  } catch {
    return undefined; // it has ended, or is not ours
  }
}

function readWords(pid: number, file: 'cmdline' | 'environ'): string[] {
  return readFileSync(`/proc/${pid}/${file}`, 'utf8').split('\0').slice(0, -1);
}

function splitVariable(line: string): [name: string, value: string] {
  const equals = line.indexOf('=');
  return [line.slice(0, equals), line.slice(equals + 1)];
}

/** Node's own the launcher takes away; names that are none for a shell, the shell does. */
function isKept([name]: [string, string]): boolean {
  return /^[A-Za-z_]\w*$/.test(name) && !(name.startsWith('NODE_') && name !== 'NODE_EXTRA_CA_CERTS');
}
