// Joins a local connection with one to a port, until both have ended. The hard part is half-close, which no way to a target
// has (protocol.md 6.1, 6.3, 9.3): a client that shuts down its writing side early still wants the answer, so its end
// of file is kept back until the answer has ended, or until nobody is there to read it.
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '../clock.ts';

export interface SpliceOptions {
  local: Socket;
  /** `end()` delivers what was written and closes both ways. */
  remote: Duplex;
  clock: Clock;
  /** Whether nobody has the other end of `local` any more; undefined where that can't be known. */
  isLocalGone(): boolean | undefined;
}

/** How often a client that has shut down its writing side is looked for. */
const lookMs = 500;
/** For how long nothing may come for such a client; then its server gets the end of file, too. */
const quietMs = 30_000;
/** A client whose server has closed may go on writing; not for ever. */
const closingMs = 10_000;

export class Splice {
  bytesSent = 0;
  bytesReceived = 0;
  /** Resolves when both sides are closed: with what went wrong on the far side, if anything did. */
  readonly done: Promise<unknown>;
  readonly #options: SpliceOptions;
  #heardAt = 0;
  #timer: Timer | undefined;
  #failure: unknown;
  #localEnded = false;

  constructor(options: SpliceOptions) {
    this.#options = options;
    const { local, remote } = options;
    const closed = (stream: Duplex) =>
      stream.closed ? Promise.resolve() : new Promise((resolve) => stream.once('close', resolve));
    this.done = Promise.all([closed(local), closed(remote)]).then(() => {
      this.#timer?.cancel();
      return this.#failure;
    });
    remote.on('error', this.#remoteFailed);
    remote.on('end', this.#remoteEnded);
    remote.on('close', this.#remoteClosed);
    local.on('error', this.#localFailed);
    local.on('end', this.#localEnd);
    local.on('close', this.#localClosed);
    local.on('data', (bytes: Buffer) => {
      this.bytesSent += bytes.length;
    });
    remote.on('data', (bytes: Buffer) => {
      this.bytesReceived += bytes.length;
      this.#heardAt = options.clock.now();
    });
    local.pipe(remote, { end: false });
    remote.pipe(local, { end: false });
    if (local.destroyed) this.#localClosed();
    if (remote.destroyed) this.#remoteClosed();
  }

  readonly #localEnd = (): void => {
    this.#localEnded = true;
    this.#heardAt = this.#options.clock.now();
    this.#look();
  };

  /** The client has shut down its writing side, or is gone; which of the two may show only later. */
  #look(): void {
    const { local, remote, clock, isLocalGone } = this.#options;
    if (remote.writableEnded || remote.destroyed || local.destroyed) return;
    if (isLocalGone() === true) {
      remote.end();
      local.destroy();
      return;
    }
    if (clock.now() - this.#heardAt >= quietMs) {
      remote.end();
      return;
    }
    // On a unix socket a write of nothing fails if nobody can read, and is nothing otherwise (unix(7)).
    if (local.writable) local.write('');
    this.#timer = clock.after(lookMs, () => this.#look());
  }

  readonly #localFailed = (): void => {
    const { remote } = this.#options;
    // After its end of file what it had said is to be delivered; a reset takes that back.
    if (this.#localEnded) remote.end();
    else remote.destroy();
  };

  readonly #localClosed = (): void => {
    const { local, remote } = this.#options;
    if (!remote.writableEnded && !remote.destroyed) remote.end();
    remote.unpipe(local); // here, since pipe() does it behind us and pauses
    remote.resume(); // nobody reads it, and its end is wanted
  };

  readonly #remoteFailed = (error: unknown): void => {
    this.#failure ??= error;
  };

  /** The server has closed: so it is for the client, when it has read all. What it still writes goes nowhere. */
  readonly #remoteEnded = (): void => {
    const { local, remote, clock } = this.#options;
    this.#timer?.cancel();
    local.unpipe(remote);
    local.resume();
    remote.end();
    local.end(() => {
      if (!local.destroyed) this.#timer = clock.after(closingMs, () => local.destroy());
    });
  };

  /** Not by an end: the client gets a reset, which it can tell from the end of the server's answer. */
  readonly #remoteClosed = (): void => {
    const { local, remote } = this.#options;
    if (remote.readableEnded || local.destroyed) return;
    this.#timer?.cancel();
    if (local.remoteFamily === undefined) local.destroy();
    else local.resetAndDestroy();
  };
}
