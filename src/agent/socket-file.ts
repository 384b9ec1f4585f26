// Unix sockets as files: bound so that nobody else can open them and ssh never meets a moment without one, told from
// one another, and cleared away when nobody listens any more. Only inside a folder that is ours alone.
import { readdirSync, realpathSync, renameSync, statSync, unlinkSync } from 'node:fs';
import { createConnection, type Server } from 'node:net';
import { dirname, join, sep } from 'node:path';
import { assertPrivateFolder, assertSocketPath } from '../private-folder.ts';

/** Which file this is, whatever it is called. */
export type FileId = string;

/** Undefined where nothing is. */
export function fileId(path: string): FileId | undefined {
  const status = statSync(path, { throwIfNoEntry: false, bigint: true });
  return status && `${status.dev}:${status.ino}`;
}

/**
 * Makes `server` listen at `path` (mode 0600), in place of whatever was there. The socket is bound under another
 * name and renamed, so a connection reaches the old one or the new one.
 * @throws KeyholeError `unsafe-folder`, `no-folder`, `socket-path`; and errors of the system
 */
export async function listenPrivately(server: Server, path: string): Promise<FileId> {
  assertSocketPath(path);
  const folder = dirname(path);
  assertPrivateFolder(folder);
  // Any free name will do. (node:crypto costs 5 ms, for which ssh would wait.)
  const unfinished = join(folder, `.${Math.random().toString(36).slice(2, 8)}`);
  assertSocketPath(unfinished);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    // The file is made within this call, so no other file of this process gets the mask.
    const umask = process.umask(0o177);
    try {
      server.listen(unfinished, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(umask);
    }
  });
  try {
    renameSync(unfinished, path);
    return fileId(path)!;
  } catch (error) {
    server.close();
    throw error;
  }
}

/** Removes the socket unless another has taken its name meanwhile. */
export function removeSocket(path: string, id: FileId): void {
  try {
    if (fileId(path) === id) unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/**
 * Removes the sockets in a folder at which nobody listens: those of a daemon that was killed. To be called while
 * no other daemon is starting. Returns how many there were.
 */
export async function sweepSockets(folder: string): Promise<number> {
  assertPrivateFolder(folder);
  let removed = 0;
  for (const path of socketsIn(folder)) {
    const id = fileId(path);
    if (id === undefined || !(await isDead(path))) continue;
    removeSocket(path, id);
    removed += 1;
  }
  return removed;
}

/**
 * Whether `path` leads to a socket in one of our folders, by name, by a link, or by another mount of it. Our agent
 * must never be its own upstream.
 */
export function isOwnSocket(path: string, folders: readonly string[]): boolean {
  const real = resolveReal(path);
  const id = fileId(path);
  return folders.some((folder) => {
    const realFolder = resolveReal(folder);
    if (real !== undefined && realFolder !== undefined && real.startsWith(realFolder + sep)) return true;
    return id !== undefined && socketsIn(folder).some((own) => fileId(own) === id);
  });
}

function isDead(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
}

function socketsIn(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isSocket())
      .map((entry) => join(folder, entry.name));
  } catch {
    return [];
  }
}

function resolveReal(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}
