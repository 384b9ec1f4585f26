// A folder that only its owner can enter, for sockets that whoever can open them may use as the owner.
import { lstatSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { KeyholeError } from './errors.ts';

/**
 * Makes the folder (0700) if it is missing, and refuses one that is not ours alone.
 * @throws KeyholeError `unsafe-folder`, `no-folder`
 */
export function ensurePrivateFolder(path: string): void {
  try {
    makeFolder(path);
  } catch (error) {
    throw new KeyholeError('no-folder', `cannot make the folder ${path}: ${(error as NodeJS.ErrnoException).code}`, {
      hint: 'a folder elsewhere can be named with KEYHOLE_RUNTIME_DIR',
      cause: error,
    });
  }
  assertPrivateFolder(path);
}

/**
 * Makes the folder (0700) if it is missing, and parents that are missing too: `~/.ssh` has to be private as well. Level by
 * level, since Node's own `recursive` never returns where the kernel answers ENOENT although the parent exists (observed
 * with Node 24.21 below /proc).
 * @throws errors of the system
 */
export function makeFolder(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) return;
  if (dirname(path) !== path) makeFolder(dirname(path));
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    // Another process of ours was quicker.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/** @throws KeyholeError `unsafe-folder` where it is a link, somebody else's, or open to others; `no-folder` */
export function assertPrivateFolder(path: string): void {
  let status: ReturnType<typeof lstatSync>;
  try {
    status = lstatSync(path)!;
  } catch (error) {
    throw new KeyholeError('no-folder', `cannot look at the folder ${path}: ${(error as NodeJS.ErrnoException).code}`, {
      cause: error,
    });
  }
  const [problem, remedy] = !status.isDirectory()
    ? ['is not a folder (a symbolic link is not followed)', elsewhere]
    : status.uid !== process.geteuid?.()
      ? [`belongs to uid ${status.uid}, not to you`, elsewhere]
      : status.mode & 0o077
        ? [`is open to others (mode ${(status.mode & 0o777).toString(8).padStart(4, '0')})`, `chmod 700 ${path}`]
        : [];
  if (problem === undefined) return;
  throw new KeyholeError('unsafe-folder', `${path} ${problem}, so keyhole does not use it`, { hint: remedy! });
}

const elsewhere = 'move it away, or name another folder with KEYHOLE_RUNTIME_DIR';

/** Longest path of a unix socket that Linux (108) and macOS (104) both take, with its final NUL. */
export const maxSocketPath = 103;

/** @throws KeyholeError `socket-path` */
export function assertSocketPath(path: string): void {
  const length = Buffer.byteLength(path);
  if (length <= maxSocketPath) return;
  throw new KeyholeError('socket-path', `the socket path ${path} has ${length} bytes, more than ${maxSocketPath}`, {
    hint: 'choose a shorter folder with KEYHOLE_RUNTIME_DIR',
  });
}
