// A process's stdin and stdout ⇄ a transport: backpressure both ways, no byte waits, and an end that comes within
// bounds. What is written to stdout is the target's bytes and nothing else. What ssh does to the process at the
// other end: protocol.md section 8.
import type { Readable, Writable } from 'node:stream';
import type { Clock, Timer } from '../clock.ts';
import type { Transport } from './transport.ts';

/** Takes a piece in place of the stream that has read it; false: it does not, and the piece is to wait in the stream. */
export type Taker = (piece: Buffer) => boolean;

export interface RelayOptions {
  /** With a `taker`: asked for each piece in the turn that reads it, as long as nothing waits in the stream. */
  stdin: Readable & { taker?: Taker | undefined };
  stdout: Writable;
  transport: Transport;
  clock: Clock;
  /** Aborted: the process was told to go. */
  signal: AbortSignal;
  /** Whether the process that started us is gone; asked only while stdin is not read and so can't say it. */
  isOrphan: () => boolean;
}

/** After a signal ssh's last words may still be in the pipe; they end with end of file, or after this time. */
const lastWordsMs = 100;
/** Bytes that the transport has not even taken by then find no room at the target, so they are given up. */
const takenWithinMs = 900;
/** From hang-up to leaving whatever is not done. With `lastWordsMs` below the 3 s that a user is promised. */
const goneWithinMs = 2_650;
/** After a signal, once the session has ended: how long what came before is still held for a reader that stands still. */
const readWithinMs = 800;
const orphanPollMs = 500;
/** Small beside what a slow line carries in the time that a keystroke may take. */
const leastPieceBytes = 8 * 1024;

/**
 * Resolves at a clean end: the target closed and all its bytes are written, or our side went away and what it had
 * said is delivered. Rejects with the transport's error. Nothing of the transport is left then.
 */
export function relay(options: RelayOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    new Relay(options, (failure) => (failure === undefined ? resolve() : reject(failure))).start();
  });
}

class Relay {
  readonly #options: RelayOptions;
  readonly #done: (failure: unknown) => void;
  #failure: unknown;
  #hungUp = false;
  #stdoutGone = false;
  #finished = false;
  #orphanPoll: Timer | undefined;
  /** Since when the transport takes nothing and stdin is not read. */
  #fullSince: number | undefined;
  readonly #timers: Timer[] = [];
  /** Something has been written in this turn of the loop. */
  #hasWritten = false;

  constructor(options: RelayOptions, done: (failure: unknown) => void) {
    this.#options = options;
    this.#done = done;
  }

  start(): void {
    const { transport, stdin, stdout, signal } = this.#options;
    transport.on('data', this.#fromTarget);
    transport.on('end', this.#targetClosed);
    transport.on('drain', this.#targetReady);
    transport.on('error', this.#targetFailed);
    transport.on('close', this.#transportClosed);

    stdout.on('drain', this.#stdoutReady);
    stdout.on('error', this.#stdoutClosed);
    stdout.on('close', this.#stdoutClosed);

    stdin.on('readable', this.#fromStdin);
    if ('taker' in stdin) stdin.taker = this.#take;
    stdin.on('end', this.#hangUp);
    stdin.on('error', this.#hangUp);

    if (signal.aborted) this.#told();
    else signal.addEventListener('abort', this.#told, { once: true });

    if (transport.closed) {
      this.#failure = transport.errored ?? undefined; // before anybody listened
      this.#transportClosed();
    }
  }

  readonly #fromTarget = (chunk: Buffer): void => {
    const { stdout, transport } = this.#options;
    if (this.#stdoutGone) return;
    collectSooner(chunk.length);
    // The first goes at once, and the rest of what came in one turn leaves in one system call.
    if (this.#hasWritten && stdout.writableCorked === 0) stdout.cork();
    if (!stdout.write(chunk)) transport.pause();
    if (this.#hasWritten) return;
    this.#hasWritten = true;
    process.nextTick(this.#flush);
  };

  readonly #flush = (): void => {
    this.#hasWritten = false;
    this.#options.stdout.uncork();
  };

  readonly #stdoutReady = (): void => {
    this.#options.transport.resume();
  };

  /** ssh closed its reading side: a normal end (EPIPE). What still comes is read and dropped, so that the end is reached. */
  readonly #stdoutClosed = (): void => {
    this.#stdoutGone = true;
    this.#options.transport.resume();
    this.#hangUp();
  };

  /**
   * Piece by piece, since what has been taken from ssh makes its next keystroke wait as much as what is on its way. A transport
   * that takes more at once anyway gets it at once.
   */
  readonly #fromStdin = (): void => {
    const { transport, stdin } = this.#options;
    while (transport.writableEnded || transport.destroyed || !transport.writableNeedDrain) {
      const piece = stdin.read(Math.min(this.#pieceBytes, stdin.readableLength) || undefined);
      if (piece === null) return;
      collectSooner(piece.length);
      if (!transport.writableEnded && !transport.destroyed) transport.write(piece);
    }
    this.#fullSince ??= this.#options.clock.now();
    this.#orphanPoll ??= this.#watchForOrphan(orphanPollMs);
  };

  /** A keystroke's way past the stream, which would hand it on in a later tick: 0.04 ms (measured). */
  readonly #take: Taker = (piece) => {
    const { transport } = this.#options;
    const takesNothing = transport.writableEnded || transport.destroyed || transport.writableNeedDrain;
    if (takesNothing || piece.length > this.#pieceBytes) return false;
    collectSooner(piece.length);
    transport.write(piece);
    return true;
  };

  get #pieceBytes(): number {
    return Math.max(leastPieceBytes, this.#options.transport.writableHighWaterMark);
  }

  readonly #targetReady = (): void => {
    this.#fullSince = undefined;
    this.#fromStdin();
  };

  /** While stdin is not read, a killed ssh shows nowhere: its end of file is behind bytes that the target does not take. */
  #watchForOrphan(ms: number): Timer {
    return this.#options.clock.after(ms, () => {
      this.#orphanPoll = undefined;
      if (this.#fullSince === undefined) return;
      // One timer for all the short times that a busy transport was full.
      const leftMs = this.#fullSince + orphanPollMs - this.#options.clock.now();
      if (leftMs <= 0 && this.#options.isOrphan()) this.#destroy();
      else this.#orphanPoll = this.#watchForOrphan(leftMs > 0 ? leftMs : orphanPollMs);
    });
  }

  readonly #targetClosed = (): void => {
    this.#options.transport.end();
  };

  readonly #targetFailed = (error: unknown): void => {
    // Once our side has gone, how the rest ended is of no interest to anybody.
    if (!this.#hungUp) this.#failure ??= error;
  };

  readonly #told = (): void => {
    this.#timers.push(this.#options.clock.after(lastWordsMs, this.#hangUp));
    const { transport } = this.#options;
    if (transport.writableFinished) this.#ended();
    else transport.once('finish', this.#ended);
  };

  readonly #ended = (): void => {
    const unread = this.#options.clock.after(readWithinMs, () => {
      this.#stdoutGone = true;
      this.#options.transport.destroy();
    });
    this.#timers.push(unread);
  };

  /** Our side is done: deliver what was taken, end the session, and be gone in time. */
  readonly #hangUp = (): void => {
    if (this.#hungUp) return;
    const { transport, clock } = this.#options;
    transport.end();
    const taken = clock.after(takenWithinMs, () => {
      if (transport.writableLength > 0) transport.destroy();
    });
    this.#timers.push(taken);
    this.#leave();
  };

  #destroy(): void {
    this.#options.transport.destroy();
    this.#leave();
  }

  /** The transport ends in bounded time by itself; this is the bound for the case that it does not. */
  #leave(): void {
    if (this.#hungUp) return;
    this.#hungUp = true;
    this.#orphanPoll?.cancel();
    this.#timers.push(this.#options.clock.after(goneWithinMs, () => this.#finish()));
  }

  readonly #transportClosed = (): void => {
    // stdout is asynchronous on pipes: an empty write calls back when everything before it has gone.
    this.#flush();
    if (this.#stdoutGone) this.#finish();
    else this.#options.stdout.write('', () => this.#finish());
  };

  #finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    for (const timer of [this.#orphanPoll, ...this.#timers]) timer?.cancel();
    const { stdin, stdout, signal } = this.#options;
    signal.removeEventListener('abort', this.#told);
    this.#options.transport.off('finish', this.#ended);
    if ('taker' in stdin) stdin.taker = undefined;
    stdin.off('readable', this.#fromStdin);
    stdin.off('end', this.#hangUp);
    stdin.pause();
    stdout.off('drain', this.#stdoutReady);
    this.#done(this.#failure);
  }
}

/** Kept until the next, so that it is made at all. */
export let garbage: unknown[] = [];

/**
 * Node allocates what it reads from a socket outside V8's heap, 64 KiB for each read. V8 frees it with its young generation, which
 * it collects when that is full of objects of its own; a large transfer makes so few of these that V8 comes to marking its whole
 * heap again and again instead (28 times for 400 MB down through an endpoint, and never with this). So there is garbage in proportion to what was read.
 */
function collectSooner(bytesRead: number): void {
  garbage = new Array(bytesRead >> 5); // a quarter of it
}
