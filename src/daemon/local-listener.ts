// Where a local tunnel listens: a TCP port, as a rule on loopback, or a unix socket that only its user can open.
import { lstatSync, unlinkSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type ListenOptions, type Server, type Socket } from 'node:net';
import { type FileId, fileId, removeSocket } from '../agent/socket-file.ts';
import { KeyholeError } from '../errors.ts';
import { assertSocketPath } from '../private-folder.ts';
import { type Forwarding, showLocal } from '../target/forwarding.ts';

type Local = Forwarding['local'];

/** What is beyond is closed at once: no local program shall take the descriptors of all tunnels. */
const maxConnections = 1_000;

export class LocalListener {
  /** With the port that was picked, if any was to do. */
  readonly local: Local;
  readonly #server: Server;
  readonly #file: FileId | undefined;

  private constructor(server: Server, local: Local) {
    this.#server = server;
    this.local = 'path' in local ? local : { ...local, port: (server.address() as AddressInfo).port };
    this.#file = 'path' in local ? fileId(local.path) : undefined;
  }

  /**
   * Connections are given paused.
   * @throws KeyholeError `port-in-use`, `port-privileged`, `socket-path`, `local-listen`
   */
  static async listen(local: Local, onConnection: (socket: Socket) => void): Promise<LocalListener> {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, onConnection);
    try {
      if ('path' in local) await makeRoom(local.path);
      await bind(server, 'path' in local ? { path: local.path } : { host: local.address, port: local.port });
    } catch (error) {
      throw error instanceof KeyholeError ? error : listenFailed(local, error as NodeJS.ErrnoException);
    }
    server.maxConnections = maxConnections;
    server.on('error', () => {}); // accept failed (too many files): the next may do
    return new LocalListener(server, local);
  }

  /** Takes no more connections. */
  close(): void {
    if ('path' in this.local && this.#file !== undefined) removeSocket(this.local.path, this.#file);
    this.#server.close();
  }
}

/** Removes a socket at which nobody listens any more, and nothing else. */
async function makeRoom(path: string): Promise<void> {
  assertSocketPath(path);
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket() || (await isServed(path))) throw inUse({ path });
  unlinkSync(path);
}

function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'));
  });
}

function bind(server: Server, options: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // The file is made within this call, so no other file of this process gets the mask.
    const umask = process.umask(0o177);
    try {
      server.listen(options, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(umask);
    }
  });
}

function listenFailed(local: Local, error: NodeJS.ErrnoException): KeyholeError {
  if (error.code === 'EADDRINUSE') return inUse(local);
  if (error.code === 'EACCES' && !('path' in local)) {
    return new KeyholeError('port-privileged', `only root may listen on ${showLocal(local)}`, {
      hint: 'name another local port in front, such as 8080:80, or 0 for any that is free',
      cause: error,
    });
  }
  return new KeyholeError('local-listen', `cannot listen on ${showLocal(local)}: ${error.code ?? error.message}`, {
    hint:
      'path' in local ? 'its folder must be there, and yours to write to' : 'name an address of this machine, or none',
    cause: error,
  });
}

function inUse(local: Local): KeyholeError {
  return new KeyholeError('port-in-use', `${showLocal(local)} is in use already`, {
    hint:
      'path' in local
        ? 'name another path, or remove what is there'
        : 'name another local port in front, or 0 for any that is free',
  });
}
