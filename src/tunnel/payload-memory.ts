// Remembers which regions' gateways refused payloads above 1,024 bytes (ssm/outgoing.ts), in memory and in a file, so
// that the next process does not try again at once. A hint and no more: a file that can't be read or written is no error.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { makeFolder } from '../private-folder.ts';
import type { PayloadMemory } from '../ssm/transport-options.ts';

/** AWS may raise its limit: then it is found out after this long. */
const keptMs = 30 * 24 * 3600 * 1000;
const maxFileBytes = 64 * 1024;

/** @param file where to keep it; undefined keeps it in memory only */
export function payloadMemory(file: string | undefined, wallTime: () => number): PayloadMemory {
  const refusedAt = new Map(file === undefined ? [] : read(file));
  return {
    refusesLargePayloads(region) {
      const at = refusedAt.get(region);
      // Also not for ever where the clock was once far ahead.
      return at !== undefined && Math.abs(wallTime() - at) < keptMs;
    },
    rememberRefusal(region) {
      refusedAt.set(region, wallTime());
      // With what other processes have found out since.
      if (file !== undefined) write(file, new Map([...read(file), ...refusedAt]));
    },
  };
}

function read(file: string): [string, number][] {
  try {
    const text = readFileSync(file, 'utf8');
    const value: unknown = text.length > maxFileBytes ? {} : JSON.parse(text);
    return Object.entries(value ?? {}).filter((entry): entry is [string, number] => Number.isFinite(entry[1]));
  } catch {
    return [];
  }
}

function write(file: string, refusedAt: Map<string, number>): void {
  try {
    makeFolder(dirname(file));
    // Renamed into place, so that a reader never sees half of it.
    writeFileSync(`${file}.${process.pid}`, JSON.stringify(Object.fromEntries(refusedAt)), { mode: 0o600 });
    renameSync(`${file}.${process.pid}`, file);
  } catch {
    // Remembered in memory.
  }
}
