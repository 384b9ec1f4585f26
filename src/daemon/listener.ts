// The control socket's listening end: made so that there is never a moment without a socket, and one daemon per user.
// Two that start at once both rename theirs into place; the one whose socket is not there any more sees it and drains.
import { renameSync, statSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Clock, Timer } from '../clock.ts';
import { KeyholeError } from '../errors.ts';

export interface ControlListenerOptions {
  path: string;
  clock: Clock;
  onConnection(socket: Socket): void;
  /** Another daemon has our place, or the socket was removed: nobody can reach us. */
  onReplaced(): void;
}

/** How often the socket's place is looked at. */
const checkMs = 1_000;
/** Helpers that connect at once. */
const backlog = 511;

export class ControlListener {
  readonly #options: ControlListenerOptions;
  readonly #server: Server;
  #inode = 0n;
  #timer: Timer | undefined;

  private constructor(options: ControlListenerOptions) {
    this.#options = options;
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: false }, options.onConnection);
    this.#server.on('error', () => {}); // accept failed (too many files): the next may do
  }

  /** @throws KeyholeError `already-running`, `control-listen` */
  static async listen(options: ControlListenerOptions): Promise<ControlListener> {
    if (await isServed(options.path)) throw new KeyholeError('already-running', 'a daemon is running already');
    const listener = new ControlListener(options);
    await listener.#listen();
    return listener;
  }

  /** Takes no more connections, and makes the place free if it is ours. */
  close(): void {
    this.#timer?.cancel();
    if (this.#inode === inode(this.#options.path)) unlink(this.#options.path);
    this.#server.close();
  }

  async #listen(): Promise<void> {
    const { path } = this.#options;
    const own = `${path}.${process.pid}`;
    unlink(own);
    const umask = process.umask(0o177);
    try {
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', reject);
        this.#server.listen({ path: own, backlog }, resolve);
      });
      this.#inode = inode(own) ?? 0n;
      renameSync(own, path);
    } catch (cause) {
      throw new KeyholeError('control-listen', `cannot listen on ${path}: ${(cause as NodeJS.ErrnoException).code}`, {
        cause,
      });
    } finally {
      process.umask(umask);
    }
    this.#watch();
  }

  #watch(): void {
    this.#timer = this.#options.clock.after(checkMs, () => {
      if (this.#inode === inode(this.#options.path)) this.#watch();
      else this.#options.onReplaced();
    });
  }
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

function inode(path: string): bigint | undefined {
  return statSync(path, { bigint: true, throwIfNoEntry: false })?.ino;
}

function unlink(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Not there.
  }
}
