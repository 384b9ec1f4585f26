// What ssh runs, the short way: asks the daemon for a tunnel, hands it over, and is gone. It loads neither the SDK nor
// the websocket nor the configuration file; ssh waits for every millisecond of this.
import { fstatSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { Clock, Timer } from '../clock.ts';
import { FrameType } from '../control/frame.ts';
import { type ControlLink, expectFrame } from '../control/link.ts';
import { type OpenRequest, parseError, parseProgress } from '../control/message.ts';
import { KeyholeError, reportOf, TransportError } from '../errors.ts';
import type { Receiver } from './hand-over.ts';

export interface ProxyOptions {
  /** A control socket on which the tunnel was asked for already. */
  asked?: ControlLink | undefined;
  /** For how long ssh waits already. */
  waitedMs?: number;
  /** Gets the control socket. */
  connect(signal: AbortSignal): Promise<ControlLink>;
  receiver: Receiver;
  /** For messages: as it was written. */
  host: string;
  /** Made while a daemon may be starting. */
  request(): Promise<Omit<OpenRequest, 'handover' | 'socketInode'>>;
  /** Answers the daemon's question for the caller's AWS settings (design.md section 4). */
  resolveAws(wanted: Record<string, unknown>, signal: AbortSignal, onAsksPerson: () => void): Promise<object>;
  /** How long a person may take to answer, in ms. */
  personTimeoutMs: number;
  /** Until the daemon tells the deadline of this host's settings. */
  deadlineMs: number;
  clock: Clock;
  /** Aborted with a KeyholeError: we were told to go. */
  signal: AbortSignal;
  /** Something takes longer than usual, and a person should know. */
  onProgress(text: string): void;
  /** From now on stderr belongs to ssh. */
  onReady(): void;
}

/** The daemon keeps its deadline itself; ours is for a daemon that doesn't answer any more. */
const deadlineGraceMs = 1_000;
/** A daemon that ends, drains or is killed under a request is no reason to fail: the next one may do. */
const maxDaemons = 3;

/** Resolves when ssh has the socket (or, relaying, when the tunnel has ended). @throws KeyholeError */
export async function proxyByDaemon(options: ProxyOptions): Promise<void> {
  const { receiver } = options;
  const deadline = new Deadline(options);
  const signal = AbortSignal.any([options.signal, receiver.gone, deadline.signal]);
  try {
    const link = await openTunnel(options, deadline, signal);
    deadline.cancel();
    options.onReady();
    await receiver.take(link, options.signal);
  } finally {
    deadline.cancel();
  }
}

/** The link, `ready` having been read from it. @throws KeyholeError */
async function openTunnel(options: ProxyOptions, deadline: Deadline, signal: AbortSignal): Promise<ControlLink> {
  for (let daemons = 1; ; daemons++) {
    const asked = daemons === 1 ? options.asked : undefined;
    const link = asked ?? (await options.connect(signal));
    const abort = () => link.socket.destroy();
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
    try {
      if (asked === undefined) await askForTunnel(link, options);
      await awaitTunnel(link, options, deadline, signal);
      return link;
    } catch (error) {
      abort();
      // Why we closed the socket, rather than that it is closed.
      signal.throwIfAborted();
      if (!(error instanceof KeyholeError) || error.code !== 'control-closed') throw error;
      if (daemons === maxDaemons) throw daemonGone(error);
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }
}

async function askForTunnel(link: ControlLink, { request, receiver: { handover } }: ProxyOptions): Promise<void> {
  const socketInode = inodeOf(link.socket);
  link.send(FrameType.open, {
    ...(await request()),
    handover,
    ...(socketInode !== undefined && { socketInode }),
  } satisfies OpenRequest);
}

async function awaitTunnel(
  link: ControlLink,
  { resolveAws, personTimeoutMs, onProgress }: ProxyOptions,
  deadline: Deadline,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    const frame = await link.receive();
    switch (frame.type) {
      case FrameType.progress: {
        const { text, deadlineMs, shown } = parseProgress(frame.body);
        if (shown) onProgress(text);
        if (deadlineMs !== undefined) deadline.set(deadlineMs + deadlineGraceMs);
        break;
      }
      case FrameType.resolve: {
        const onAsksPerson = () => {
          deadline.extend(personTimeoutMs);
          link.send(FrameType.asking);
        };
        link.send(FrameType.resolved, await answer(link, () => resolveAws(frame.body, signal, onAsksPerson)));
        break;
      }
      case FrameType.error:
        throw parseError(frame.body);
      default:
        expectFrame(frame, FrameType.ready);
        return;
    }
  }
}

/** Tells the daemon too why there is no answer: others with the same settings wait for it. */
async function answer(link: ControlLink, resolve: () => Promise<object>): Promise<object> {
  try {
    return await resolve();
  } catch (error) {
    if (error instanceof KeyholeError) link.send(FrameType.error, reportOf(error));
    throw error;
  }
}

/** Of our end. What Node calls a handle has its descriptor on POSIX systems; that is not documented, so nothing depends on it. */
function inodeOf(socket: Socket): number | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    return fstatSync((socket as unknown as { _handle: { fd: number } })._handle.fd).ino;
  } catch {
    return undefined;
  }
}

function daemonGone(cause: unknown): KeyholeError {
  return new KeyholeError('daemon-gone', `${maxDaemons} times the daemon went away while it opened the tunnel`, {
    hint: '`keyhole daemon logs` may say why; `keyhole proxy --no-daemon` does without',
    cause,
  });
}

class Deadline {
  readonly #abort = new AbortController();
  readonly #clock: Clock;
  readonly #host: string;
  readonly #start: number;
  #timer: Timer;

  constructor({ clock, deadlineMs, host, waitedMs = 0 }: ProxyOptions) {
    this.#clock = clock;
    this.#host = host;
    this.#start = clock.now() - waitedMs;
    this.#timer = clock.after(Math.max(0, deadlineMs - waitedMs), () => this.#over(deadlineMs));
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Counted from the start of the helper. */
  set(ms: number): void {
    this.#timer.cancel();
    this.#timer = this.#clock.after(Math.max(0, this.#start + ms - this.#clock.now()), () => this.#over(ms));
  }

  /** Also counts for what the daemon says later: it gives a person as much time. */
  extend(ms: number): void {
    this.set(this.#clock.now() - this.#start + ms);
  }

  cancel(): void {
    this.#timer.cancel();
  }

  #over(ms: number): void {
    this.#abort.abort(
      new TransportError('deadline', `no connection to ${this.#host} within ${Math.round(ms / 1000)} s`, {
        hint: '`keyhole daemon logs` may say more; the deadline can be raised with KEYHOLE_DEADLINE',
      }),
    );
  }
}
