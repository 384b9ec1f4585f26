// The sessions this process has at AWS, on disk, so that one that was killed leaves a list of what its successor has to
// end. It holds no secret: a session's id opens nothing. One file per daemon, since two live at a hand-over, and only its
// own daemon knows which of them have ended. Appended to per start and end, rewritten when it has grown.
import { appendFileSync, readdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { WantedSettings } from '../aws/caller.ts';
import { makeFolder } from '../private-folder.ts';
import { isProcessAlive, processStart } from '../process-life.ts';

export interface LedgerEntry {
  sessionId: string;
  target: string;
  region: string;
  /** Names the AWS context that may end it (aws/contexts.ts). */
  context: string;
  /** With which its settings can be found again; undefined where a secret was needed for that. */
  surroundings?: { env: Record<string, string>; cwd: string; wanted: WantedSettings };
  /** Whether it is on record that its process was killed. */
  isTold?: true;
}

type Line = { start: LedgerEntry } | { end: string };

/** Lines after which the file is rewritten with what is open. */
const maxLines = 1_000;
/** `sessions.PID.START.jsonl`; START tells a process from a later one with the same id. */
const fileName = /^sessions\.(\d+)\.(\d+)\.jsonl$/;

export class SessionLedger {
  readonly #folder: string | undefined;
  readonly #file: string;
  readonly #open = new Map<string, LedgerEntry>();
  #lines = 0;
  /** A line may have been written in part. */
  #torn = false;

  /**
   * Takes over what daemons that are gone have left.
   * @param folder undefined keeps nothing
   */
  constructor(folder: string | undefined, pid: number = process.pid) {
    this.#folder = folder;
    this.#file = folder === undefined ? '' : join(folder, `sessions.${pid}.${processStart(pid) ?? 0}.jsonl`);
    if (folder !== undefined) this.#takeOver(folder);
  }

  /** What is open; before the first start(), what others left. */
  entries(): LedgerEntry[] {
    return [...this.#open.values()];
  }

  start(entry: LedgerEntry): void {
    this.#open.set(entry.sessionId, entry);
    this.#append({ start: entry });
  }

  end(sessionId: string): void {
    if (this.#open.delete(sessionId)) this.#append({ end: sessionId });
  }

  /** Leaves no file where nothing is open. */
  close(): void {
    if (this.#folder !== undefined && this.#open.size === 0) unlink(this.#file);
  }

  #takeOver(folder: string): void {
    const left = filesOfTheDead(folder);
    for (const file of left) {
      const open = new Map<string, LedgerEntry>();
      for (const line of readLines(file)) {
        if ('start' in line) open.set(line.start.sessionId, line.start);
        else open.delete(line.end);
      }
      for (const [sessionId, entry] of open) this.#open.set(sessionId, entry);
    }
    // Ours has them before theirs are gone; written twice is no harm.
    if (this.#open.size > 0 && !this.#rewrite()) return;
    for (const file of left) unlink(file);
  }

  /** Never throws: a session must not fail because its note can't be written. */
  #append(line: Line): void {
    if (this.#folder === undefined) return;
    if (++this.#lines > maxLines && this.#rewrite()) return;
    try {
      makeFolder(this.#folder);
      appendFileSync(this.#file, `${this.#torn ? '\n' : ''}${JSON.stringify(line)}\n`, { mode: 0o600 });
      this.#torn = false;
    } catch {
      this.#torn = true; // a full disk
    }
  }

  #rewrite(): boolean {
    const lines = this.entries().map((entry) => `${JSON.stringify({ start: entry })}\n`);
    try {
      writeFileSync(`${this.#file}.new`, lines.join(''), { mode: 0o600 });
      renameSync(`${this.#file}.new`, this.#file);
    } catch {
      return false;
    }
    this.#lines = 0;
    this.#torn = false;
    return true;
  }
}

function filesOfTheDead(folder: string): string[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return [];
  }
  return names
    .filter((name) => {
      const [, pid, start] = fileName.exec(name) ?? [];
      return pid !== undefined && !isProcessAlive(Number(pid), Number(start));
    })
    .map((name) => join(folder, name));
}

function unlink(file: string): void {
  try {
    unlinkSync(file);
  } catch {
    // Not there.
  }
}

function readLines(file: string): Line[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return [];
  }
  return text.split('\n').flatMap((line) => {
    try {
      const value = JSON.parse(line);
      const known = typeof value.start?.sessionId === 'string' || typeof value.end === 'string';
      return known ? [value as Line] : [];
    } catch {
      return []; // the last line of a daemon that was killed while it wrote
    }
  });
}
