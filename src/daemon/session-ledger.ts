// The sessions this daemon has at AWS, on disk, so that one that was killed leaves a list of what its successor has to
// end. It holds no secret: a session's id opens nothing. Appended to per start and end, rewritten when it has grown.
import { appendFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { WantedSettings } from '../aws/caller.ts';
import { makeFolder } from '../private-folder.ts';

export interface LedgerEntry {
  sessionId: string;
  target: string;
  region: string;
  /** Names the AWS context that may end it (aws/contexts.ts). */
  context: string;
  /** With which its settings can be found again, if no secret is needed for that. */
  wanted: WantedSettings;
  env: Record<string, string>;
  cwd: string;
}

type Line = { start: LedgerEntry } | { end: string };

/** Lines after which the file is rewritten with what is open. */
const maxLines = 1_000;

export class SessionLedger {
  readonly #file: string | undefined;
  readonly #open = new Map<string, LedgerEntry>();
  #lines = 0;

  /** @param file undefined keeps nothing */
  constructor(file: string | undefined) {
    this.#file = file;
    if (file === undefined) return;
    for (const line of readLines(file)) {
      if ('start' in line) this.#open.set(line.start.sessionId, line.start);
      else this.#open.delete(line.end);
    }
  }

  /** What is open; read before the first start(), what another daemon left. */
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

  /** Never throws: a session must not fail because its note can't be written. */
  #append(line: Line): void {
    if (this.#file === undefined) return;
    try {
      if (++this.#lines > maxLines) {
        this.#rewrite(this.#file);
        return;
      }
      makeFolder(dirname(this.#file));
      appendFileSync(this.#file, `${JSON.stringify(line)}\n`, { mode: 0o600 });
    } catch {
      // Said above.
    }
  }

  #rewrite(file: string): void {
    const lines = this.entries().map((entry) => `${JSON.stringify({ start: entry })}\n`);
    writeFileSync(`${file}.new`, lines.join(''), { mode: 0o600 });
    renameSync(`${file}.new`, file);
    this.#lines = 0;
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
