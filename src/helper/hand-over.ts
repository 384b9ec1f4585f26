// Gives whoever started us its tunnel: by passing it the daemon's socket, or by relaying where a descriptor can't be
// passed (design.md section 1, 1). Which of the two is expected is seen from how we were started, without a flag.
import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import type { Clock, Timer } from '../clock.ts';
import { FrameType } from '../control/frame.ts';
import type { ControlLink } from '../control/link.ts';
import { EarlyInput } from '../early-input.ts';
import { KeyholeError } from '../errors.ts';
import { collectAtEnd } from '../process-end.ts';

/** Who waits for the tunnel: ssh, as a rule. */
export interface Receiver {
  readonly handover: 'fd' | 'relay';
  /** Aborted when it went away before the tunnel was there. */
  readonly gone: AbortSignal;
  /** Gives it the tunnel, `ready` having come. `signal`: we were told to go. @throws KeyholeError `fd-pass` */
  take(link: ControlLink, signal: AbortSignal): Promise<void>;
  /** Gives back what was read of stdin, for whoever serves it instead of the daemon. */
  abandon(): void;
}

export function findReceiver(clock: Clock): Receiver {
  if (expectsDescriptor()) return new DescriptorReceiver();
  const parentPid = process.ppid;
  return new StdioReceiver(process.stdin, process.stdout, clock, () => process.ppid !== parentPid);
}

/**
 * Whether ssh waits for a descriptor: the launcher then made fd 1 Node's IPC channel. (ssh gives one socket as stdin
 * and stdout with ProxyUseFdpass; everybody else gives pipes or two sockets.)
 */
export function expectsDescriptor(): boolean {
  return process.channel !== undefined && process.channel !== null;
}

class DescriptorReceiver implements Receiver {
  readonly handover = 'fd';
  readonly #gone = new AbortController();

  constructor() {
    process.on('disconnect', () => this.#gone.abort(wentAway()));
    // The channel must be read for its end to be seen; ssh never writes to it.
    process.channel?.ref();
  }

  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /**
   * Passes the socket (SCM_RIGHTS with the first byte of Node's IPC message; ssh takes the descriptor and ignores the
   * bytes) and resolves when it is on its way. The daemon says nothing on the socket until ssh does, so it does not
   * matter that this process could still read from it.
   */
  take(link: ControlLink): Promise<void> {
    const socket: Socket = link.release();
    return new Promise((resolve, reject) => {
      process.send!({}, socket, { keepOpen: true }, (error: Error | null) => {
        if (error === null) resolve();
        else reject(new KeyholeError('fd-pass', `ssh did not take the connection: ${error.message}`, { cause: error }));
      });
    });
  }

  abandon(): void {}
}

/** After a signal the client's last words may still be in the pipe; they end with end of file, or after this time. */
const lastWordsMs = 100;
/** From being told to go to leaving whatever is not done: below the 3 s that a user is promised. */
const goneWithinMs = 2_750;
const orphanPollMs = 500;

export class StdioReceiver implements Receiver {
  readonly handover = 'relay';
  readonly #stdout: Writable;
  readonly #clock: Clock;
  readonly #isOrphan: () => boolean;
  readonly #early: EarlyInput;
  readonly #gone = new AbortController();

  /** @param isOrphan whether the process that started us is gone */
  constructor(stdin: Readable, stdout: Writable, clock: Clock, isOrphan: () => boolean) {
    this.#stdout = stdout;
    this.#clock = clock;
    this.#isOrphan = isOrphan;
    // Only who reads stdin sees its end.
    this.#early = new EarlyInput(stdin, () => this.#gone.abort(wentAway()));
  }

  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** Relays; resolves when the tunnel has ended and everything is written. */
  async take(link: ControlLink, signal: AbortSignal): Promise<void> {
    collectAtEnd();
    link.send(FrameType.go);
    const socket = link.release();
    const stdin = this.#early.release();
    const stdout = this.#stdout;
    const timers: Timer[] = [];
    const told = () => {
      timers.push(
        this.#clock.after(lastWordsMs, () => {
          stdin.unpipe(socket);
          socket.end();
        }),
        this.#clock.after(goneWithinMs, () => socket.destroy()),
      );
    };
    if (signal.aborted) told();
    else signal.addEventListener('abort', told, { once: true });
    const orphanPoll = this.#watchForOrphan(socket);
    await new Promise<void>((resolve) => {
      // Our reader is gone: so are we, and the daemon ends the session.
      stdout.on('error', () => socket.destroy());
      socket.on('error', () => {});
      socket.on('close', () => resolve());
      // The tunnel has ended, or the daemon was killed: whatever the client would still say, nobody hears it.
      socket.on('end', () => {
        stdin.unpipe(socket);
        socket.end();
      });
      stdin.on('error', () => socket.end());
      stdin.pipe(socket);
      socket.pipe(stdout, { end: false });
    });
    orphanPoll.cancel();
    for (const timer of timers) timer.cancel();
    signal.removeEventListener('abort', told);
    stdin.unpipe(socket);
    stdin.pause();
    // stdout is asynchronous on pipes: an empty write calls back when everything before it has gone.
    await new Promise<void>((resolve) => stdout.write('', () => resolve()));
  }

  abandon(): void {
    this.#early.release();
  }

  /** While the target takes nothing, stdin is not read, and a killed client shows nowhere. */
  #watchForOrphan(socket: Socket): Timer {
    let timer: Timer;
    const look = () => {
      if (socket.writableNeedDrain && this.#isOrphan()) socket.destroy();
      else timer = this.#clock.after(orphanPollMs, look);
    };
    timer = this.#clock.after(orphanPollMs, look);
    return { cancel: () => timer.cancel() };
  }
}

function wentAway(): KeyholeError {
  return new KeyholeError('interrupted', 'the client went away before the tunnel was open');
}
