// The control socket's listening end: made so that there is never a moment without a socket, and one daemon per user.
// Two that start at once both rename theirs into place; the one whose socket is not there any more sees it and drains.
// A socket that systemd listens on (activation.ts) stays where it is when the daemon goes: the next connection starts another.
import { type FSWatcher, watch } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { type FileId, fileId, listenPrivately, removeSocket } from '../agent/socket-file.ts';
import type { Clock, Timer } from '../clock.ts';
import { KeyholeError } from '../errors.ts';
import { PieceSocket } from './piece-socket.ts';

export interface ControlListenerOptions {
  path: string;
  /** A descriptor that listens at `path` already. */
  inherited?: number | undefined;
  clock: Clock;
  onConnection(socket: Socket): void;
  /** Another daemon has our place, or the socket was removed: nobody can reach us. */
  onReplaced(): void;
  /** Looked, and the place is still ours. */
  onChecked?(): void;
}

/** How often the socket's place is looked at although nothing was told of its folder (a network file system tells nothing). */
const checkMs = 30_000;
/** More than anybody's shells and editors need; what is beyond is closed at once, and tried again by the helper. */
const maxConnections = 4_096;

export class ControlListener {
  readonly #options: ControlListenerOptions;
  readonly #server: Server;
  #file: FileId | undefined;
  #timer: Timer | undefined;
  #changes: FSWatcher | undefined;

  private constructor(options: ControlListenerOptions) {
    this.#options = options;
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) =>
      options.onConnection(PieceSocket.replace(socket, options.clock)),
    );
    this.#server.maxConnections = maxConnections;
    this.#server.on('error', () => {}); // accept failed (too many files): the next may do
  }

  /** @throws KeyholeError `already-running`, `control-listen`, `unsafe-folder`, `socket-path` */
  static async listen(options: ControlListenerOptions): Promise<ControlListener> {
    if (options.inherited === undefined) await assertNotServed(options.path);
    const listener = new ControlListener(options);
    await listener.#listen();
    return listener;
  }

  /**
   * Takes no more connections, and makes the place free if it is ours. One that was inherited is left to systemd, unless this
   * process stays for a while: until it ends systemd would let connections wait.
   */
  close({ staying = true }: { staying?: boolean } = {}): void {
    this.#stopWatching();
    const isLeft = this.#options.inherited !== undefined && !staying;
    if (this.#file !== undefined && !isLeft) removeSocket(this.#options.path, this.#file);
    this.#server.close();
  }

  async #listen(): Promise<void> {
    const { path, inherited } = this.#options;
    try {
      if (inherited === undefined) this.#file = await listenPrivately(this.#server, path);
      else this.#file = await listenOn(this.#server, inherited, path);
    } catch (cause) {
      if (cause instanceof KeyholeError) throw cause;
      throw new KeyholeError('control-listen', `cannot listen on ${path}: ${(cause as NodeJS.ErrnoException).code}`, {
        cause,
      });
    }
    this.#watch();
  }

  #watch(): void {
    try {
      this.#changes = watch(dirname(this.#options.path), { persistent: false }, () => this.#check());
      this.#changes.on('error', () => this.#changes?.close());
    } catch {
      // No watches are left (inotify's limit): the timer has to do.
    }
    this.#wait();
  }

  #wait(): void {
    this.#timer = this.#options.clock.after(checkMs, () => {
      this.#wait();
      this.#check();
    });
  }

  #check(): void {
    if (this.#timer === undefined) return; // told after the end
    if (fileId(this.#options.path) === this.#file) {
      this.#options.onChecked?.();
      return;
    }
    this.#stopWatching();
    this.#options.onReplaced();
  }

  #stopWatching(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#changes?.close();
  }
}

async function listenOn(server: Server, fd: number, path: string): Promise<FileId | undefined> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ fd }, () => {
      server.off('error', reject);
      resolve();
    });
  });
  return fileId(path);
}

/**
 * To be asked before a daemon takes anything that another may have.
 * @throws KeyholeError `already-running`
 */
export async function assertNotServed(path: string): Promise<void> {
  if (await isServed(path)) throw new KeyholeError('already-running', 'a daemon is running already');
}

/** Whether somebody accepts connections there. */
function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'EAGAIN'));
  });
}
