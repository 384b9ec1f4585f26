// Lets one of many helpers start the daemon. A lock is a file with its owner's pid; one whose owner is gone, or that is
// older than any start takes, is taken over. A mistake here costs a second daemon, which notices and goes (daemon/listener.ts).
import { closeSync, openSync, readFileSync, statSync, unlinkSync, writeSync } from 'node:fs';

const maxAgeMs = 20_000;

/** @returns what releases the lock, or undefined while somebody else has it */
export function takeStartLock(path: string): (() => void) | undefined {
  try {
    return create(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  if (!isStale(path)) return undefined;
  try {
    unlinkSync(path);
    return create(path);
  } catch {
    return undefined; // another helper was quicker
  }
}

function create(path: string): () => void {
  const fd = openSync(path, 'wx', 0o600);
  writeSync(fd, String(process.pid));
  closeSync(fd);
  return () => {
    try {
      unlinkSync(path);
    } catch {
      // Taken over, because we were very slow.
    }
  };
}

function isStale(path: string): boolean {
  try {
    if (Date.now() - statSync(path).mtimeMs > maxAgeMs) return true;
    const pid = Number(readFileSync(path, 'utf8'));
    // An empty file: its owner is about to write its pid.
    if (!Number.isSafeInteger(pid) || pid <= 0) return false;
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}
