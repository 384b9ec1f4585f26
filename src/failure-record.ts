// The last failures, kept for `keyhole why`: several clients hide what a ProxyCommand says (users.md section 5). One JSON
// object per line, appended in one write, so that processes don't tear each other's lines; bounded by starting over.
import { appendFileSync, readFileSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { KeyholeError } from './errors.ts';
import { makeFolder } from './private-folder.ts';

export interface FailureRecord {
  /** Milliseconds since 1970. */
  time: number;
  /** As the user wrote it. */
  host: string;
  port: string;
  code: string;
  message: string;
  hint?: string;
}

const maxFileBytes = 256 * 1024;

/** Never throws: a full disk or a home that can't be written must not hide the failure itself. */
export function recordFailure(
  stateDir: string | undefined,
  where: { host: string; port: string },
  error: KeyholeError,
  time: number = Date.now(),
): void {
  if (stateDir === undefined) return;
  const record: FailureRecord = {
    time,
    host: where.host.slice(0, 200),
    port: where.port.slice(0, 16),
    code: error.code,
    message: error.message.slice(0, 1000),
    ...(error.hint !== undefined && { hint: error.hint.slice(0, 1000) }),
  };
  const file = failureFile(stateDir);
  try {
    makeFolder(stateDir);
    if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) > maxFileBytes) renameSync(file, `${file}.1`);
    appendFileSync(file, `${JSON.stringify(record)}\n`, { mode: 0o600 });
  } catch {
    // Said above.
  }
}

/** Oldest first. Lines that can't be read are left out. */
export function readFailures(stateDir: string | undefined): FailureRecord[] {
  if (stateDir === undefined) return [];
  const file = failureFile(stateDir);
  return [`${file}.1`, file].flatMap(readLines);
}

function failureFile(stateDir: string): string {
  return join(stateDir, 'failures.jsonl');
}

function readLines(file: string): FailureRecord[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return [];
  }
  return text.split('\n').flatMap((line) => {
    try {
      const value = JSON.parse(line);
      return typeof value.time === 'number' && typeof value.code === 'string' ? [value as FailureRecord] : [];
    } catch {
      return [];
    }
  });
}
