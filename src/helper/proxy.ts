// What ssh runs, the short way: asks the daemon for a tunnel, hands it over, and is gone. It loads neither the SDK nor
// the websocket nor the settings; ssh waits for every millisecond of this.
import type { Clock } from '../clock.ts';
import { FrameType } from '../control/frame.ts';
import { type ControlLink, expectFrame } from '../control/link.ts';
import { type OpenRequest, parseError, parseProgress } from '../control/message.ts';
import { KeyholeError, TransportError } from '../errors.ts';
import { expectsDescriptor, onDescriptorReceiverGone, passDescriptor, relayStdio } from './hand-over.ts';

export interface ProxyOptions {
  /** Gets the control socket. */
  connect(signal: AbortSignal): Promise<ControlLink>;
  request: Omit<OpenRequest, 'handover'>;
  /** Answers the daemon's question for the caller's AWS settings (design.md section 4). */
  resolveAws(wanted: Record<string, unknown>, signal: AbortSignal): Promise<object>;
  /** Until the daemon tells the deadline of this host's settings. */
  deadlineMs: number;
  clock: Clock;
  signal: AbortSignal;
  /** From now on stderr belongs to ssh. */
  onReady(): void;
}

/** The daemon keeps its deadline itself; ours is for a daemon that doesn't answer any more. */
const deadlineGraceMs = 1_000;

/** Resolves when ssh has the socket (or, relaying, when the tunnel has ended). @throws KeyholeError */
export async function proxyByDaemon(options: ProxyOptions): Promise<void> {
  const gone = new AbortController();
  const deadline = new Deadline(options);
  const signal = AbortSignal.any([options.signal, gone.signal, deadline.signal]);
  if (expectsDescriptor()) onDescriptorReceiverGone(() => gone.abort(new KeyholeError('interrupted', 'ssh went away')));
  else process.stdin.on('close', () => gone.abort(new KeyholeError('interrupted', 'stdin was closed')));
  const link = await options.connect(signal);
  const abort = () => link.socket.destroy();
  signal.addEventListener('abort', abort, { once: true });
  try {
    link.send(FrameType.open, {
      ...options.request,
      handover: expectsDescriptor() ? 'fd' : 'relay',
    } satisfies OpenRequest);
    await untilReady(link, options, deadline, signal);
    deadline.cancel();
    options.onReady();
    if (expectsDescriptor()) await passDescriptor(link.release());
    else await relayStdio(link);
  } catch (error) {
    // Why we closed the socket, rather than that it is closed.
    throw signal.aborted ? signal.reason : error;
  } finally {
    deadline.cancel();
    signal.removeEventListener('abort', abort);
  }
}

async function untilReady(link: ControlLink, options: ProxyOptions, deadline: Deadline, signal: AbortSignal) {
  for (;;) {
    const frame = await link.receive();
    switch (frame.type) {
      case FrameType.progress: {
        const { deadlineMs } = parseProgress(frame.body);
        if (deadlineMs !== undefined) deadline.set(deadlineMs + deadlineGraceMs);
        break;
      }
      case FrameType.resolve:
        link.send(FrameType.resolved, await options.resolveAws(frame.body, signal));
        break;
      case FrameType.error:
        throw parseError(frame.body);
      default:
        expectFrame(frame, FrameType.ready);
        return;
    }
  }
}

class Deadline {
  readonly #abort = new AbortController();
  readonly #clock: Clock;
  readonly #host: string;
  readonly #start: number;
  #timer: { cancel(): void };

  constructor({ clock, deadlineMs, request }: ProxyOptions) {
    this.#clock = clock;
    this.#host = request.host;
    this.#start = clock.now();
    this.#timer = clock.after(deadlineMs, () => this.#over(deadlineMs));
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Counted from the start of this process. */
  set(ms: number): void {
    this.#timer.cancel();
    this.#timer = this.#clock.after(Math.max(0, this.#start + ms - this.#clock.now()), () => this.#over(ms));
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
