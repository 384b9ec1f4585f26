// Lets one of many helpers start the daemon. A lock is a file with its owner's pid; one whose owner is gone, or that is
// older than any start takes, is taken over. A mistake here costs a second daemon, which notices and goes (daemon/listener.ts).
import { closeSync, openSync, readFileSync, statSync, unlinkSync, writeSync } from 'node:fs';
import { KeyholeError } from '../errors.ts';
import { isProcessAlive } from '../process-life.ts';

const maxAgeMs = 20_000;
/** Within which a living owner has written its pid. */
const namelessMs = 1_000;

/**
 * @returns what releases the lock, or undefined while somebody else has it
 * @throws KeyholeError `daemon-start` where nothing can be written: no daemon could listen there
 */
export function takeStartLock(path: string): (() => void) | undefined {
  try {
    return create(path) ?? (isStale(path) && unlink(path) ? create(path) : undefined);
  } catch (error) {
    throw new KeyholeError('daemon-start', `cannot write ${path}: ${(error as NodeJS.ErrnoException).code}`, {
      hint: '`keyhole proxy --no-daemon` does without; KEYHOLE_RUNTIME_DIR names another folder',
      cause: error,
    });
  }
}

function create(path: string): (() => void) | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'wx', 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined;
    throw error;
  }
  try {
    writeSync(fd, String(process.pid));
  } catch (error) {
    unlink(path);
    throw error;
  } finally {
    closeSync(fd);
  }
  return () => unlink(path);
}

/** False: another was quicker, or had taken it over because we were very slow. */
function unlink(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch {
    return false;
  }
}

function isStale(path: string): boolean {
  try {
    const age = Date.now() - statSync(path).mtimeMs;
    if (age > maxAgeMs) return true;
    const pid = Number(readFileSync(path, 'utf8'));
    if (!Number.isSafeInteger(pid) || pid <= 0) return age > namelessMs;
    return !isProcessAlive(pid);
  } catch {
    return false; // gone since; the next look finds out
  }
}
