// One session worker of the simulated instance: the agent's channel (channel.ts) with its TCP connection to
// the target's port, its timers and back-pressure both ways. It never speaks websocket: the gateway hands it
// messages and takes messages. Governed by protocol.md sections 4.4, 6.1 and 16.
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type Clock, systemClock, type Timer } from '../../../src/clock.ts';
import { type Log, silent } from '../../../src/log.ts';
import { type AgentAction, AgentChannel, maxPayloadBytes } from './channel.ts';
import type { Destination } from './destination.ts';
import { MuxSocket } from './mux-socket.ts';

export interface AgentSessionOptions {
  /** What the agent dials after the handshake. */
  destination: Destination;
  sessionId: string;
  /** Of the session document, announced in the handshake, e.g. `{ portNumber: '22' }`. */
  properties: Record<string, string>;
  /** e.g. `3.3.1142.0`, the version whose behaviour this is. */
  agentVersion: string;
  /** Time from the refused dial to `onEnd`; 60 s observed (protocol.md section 16, row 6). */
  refusedPortDelayMs?: number;
  /** Mean time between two messages of a download; the observed one where it is not set (0.72 MB/s). */
  readIntervalMs?: number;
  clock?: Clock;
  log?: Log;
}

export interface AgentEnd {
  /** What `channel_closed` says in Output: empty after sshd's EOF or a TerminateSession flag. */
  output: string;
}

/**
 * The gateway's grip on the agent's side of one data channel. The callbacks are no-ops until assigned; none
 * is called before the turn of the event loop in which the leg was made is over.
 */
export interface AgentLeg {
  /**
   * Hands over one binary message as the client wrote it (or as the gateway made it: start_publication,
   * pause_publication). The message is always taken and must not be changed afterwards; false means that
   * the agent's websocket reader is blocked because sshd does not read: send no more until `onDrain`.
   */
  send(message: Buffer): boolean;
  /** A message of the agent for the client. */
  onMessage: (message: Buffer) => void;
  /** The worker ended by itself: the gateway now sends channel_closed. Called once, never after `close()`. */
  onEnd: (end: AgentEnd) => void;
  /** After a `send` that returned false: there is room again. */
  onDrain: () => void;
  /** The gateway's way to the client is full: nothing is read from sshd and nothing resent. Acks still come, one per message. */
  pause(): void;
  resume(): void;
  /** TerminateSession API, idle timeout or maximum duration: TCP is closed at once, then `onEnd` with `reason` as Output. */
  cancel(reason: string): void;
  /** The instance is gone: TCP and timers end, nothing is called any more. */
  close(): void;
}

/** Starts the worker of one session: the HandshakeRequest comes with the next turn of the event loop. */
export function startAgentSession(options: AgentSessionOptions): AgentLeg {
  return new AgentSession(options);
}

/** Messages the kernel and the websocket library hold in front of a reader that stands still. */
const inboxLimitBytes = 256 * 1024;

class AgentSession implements AgentLeg {
  onMessage: (message: Buffer) => void = () => {};
  onEnd: (end: AgentEnd) => void = () => {};
  onDrain: () => void = () => {};

  readonly #options: AgentSessionOptions;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #channel: AgentChannel;
  readonly #actions: AgentAction[] = [];
  #running = false;
  #closed = false;
  #socket: Duplex | undefined;
  #writes = 0;
  #inbox: Buffer[] = [];
  #inboxBytes = 0;
  #full = false;
  #alarm: Timer | undefined;
  #alarmAt = Infinity;
  #pace: Timer | undefined;

  constructor(options: AgentSessionOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? silent;
    const { agentVersion, properties, refusedPortDelayMs, readIntervalMs } = options;
    this.#channel = new AgentChannel({
      agentVersion,
      properties,
      wallTime: this.#clock.wallTime,
      ...(refusedPortDelayMs === undefined ? {} : { refusedPortDelayMs }),
      ...(readIntervalMs === undefined ? {} : { readIntervalMs }),
    });
    setImmediate(() => {
      if (!this.#closed) this.#run(this.#channel.start(this.#clock.now()));
    });
  }

  send(message: Buffer): boolean {
    if (this.#closed) return true;
    this.#inbox.push(message);
    this.#inboxBytes += message.length;
    this.#read();
    if (this.#inboxBytes >= inboxLimitBytes) this.#full = true;
    return !this.#full;
  }

  pause(): void {
    this.#channel.setWritable(false);
  }

  resume(): void {
    this.#channel.setWritable(true);
    if (!this.#closed) this.#run([]);
  }

  cancel(reason: string): void {
    if (!this.#closed) this.#run(this.#channel.cancel(reason, this.#clock.now()));
  }

  close(): void {
    this.#closed = true;
    this.#alarm?.cancel();
    this.#pace?.cancel();
    this.#socket?.destroy();
    this.#inbox = [];
    this.#inboxBytes = 0;
  }

  /** The reader of the agent's websocket: one message after the other, none while a write to the port is blocked. */
  #read(): void {
    while (!this.#closed && !this.#channel.blocked) {
      const message = this.#inbox.shift();
      if (message === undefined) break;
      this.#inboxBytes -= message.length;
      this.#run(this.#channel.receive(message, this.#clock.now()));
    }
    if (this.#full && this.#inbox.length === 0 && !this.#closed) {
      this.#full = false;
      this.onDrain();
    }
  }

  /** Does what the channel asks for, in order also where a callback leads back to `send`. */
  #run(actions: AgentAction[]): void {
    this.#actions.push(...actions);
    if (this.#running) return;
    this.#running = true;
    for (let action = this.#actions.shift(); action !== undefined && !this.#closed; action = this.#actions.shift()) {
      this.#do(action);
    }
    this.#running = false;
    if (this.#closed) return;
    this.#setAlarm();
    this.#pump();
  }

  #do(action: AgentAction): void {
    switch (action.type) {
      case 'message':
        this.onMessage(action.message);
        break;
      case 'dial':
        this.#dial();
        break;
      case 'write':
        this.#write(action.bytes);
        break;
      case 'disconnect':
        this.#socket?.destroy();
        break;
      case 'ended':
        this.#log('debug', 'agent-ended', { session: this.#options.sessionId, status: action.status });
        this.close();
        this.onEnd({ output: action.output });
    }
  }

  #dial(): void {
    const { destination } = this.#options;
    if ('refusal' in destination) {
      this.#run(this.#channel.destinationRefused(destination.refusal, this.#clock.now()));
    } else if (this.#channel.isMultiplexed) {
      const connectError = () => this.#run(this.#channel.connectError(this.#clock.now()));
      this.#use(new MuxSocket(destination.address, connectError));
      this.#run(this.#channel.dialled());
    } else if (this.#options.properties.type === 'LocalPortForwarding') {
      const why = 'The simulated agent does not serve clients without smux here.';
      this.#run(this.#channel.destinationRefused(why, this.#clock.now()));
    } else if (destination.address === undefined) {
      this.#run(this.#channel.dialFailed(this.#clock.now()));
    } else {
      const socket: Socket = connect({ ...destination.address, noDelay: true });
      socket.once('connect', () => this.#run(this.#channel.dialled()));
      this.#use(socket);
    }
  }

  #use(socket: Duplex): void {
    this.#socket = socket;
    socket.on('readable', () => this.#pump());
    socket.once('end', () => this.#run(this.#channel.socketEof(this.#clock.now())));
    socket.once('error', (error) => {
      if (this.#closed) return;
      this.#log('debug', 'agent-socket', { session: this.#options.sessionId, error: error.message });
      const now = this.#clock.now();
      this.#run(this.#channel.dialFailed(now)); // Only the one that fits its state does anything.
      this.#run(this.#channel.socketError(now));
    });
  }

  #write(bytes: Buffer): void {
    const id = ++this.#writes;
    let taken = false;
    const written = () => {
      if (taken || id !== this.#writes || this.#closed) return;
      taken = true;
      this.#run(this.#channel.written(this.#clock.now()));
      this.#read();
    };
    this.#socket?.write(bytes, (error) => {
      if (!error) written();
    });
    if (this.#socket?.writableLength === 0) written();
  }

  /** Reads sshd's bytes as the agent does: at most 1,024, then not before `readAt`. */
  #pump(): void {
    const socket = this.#socket;
    const readAt = this.#channel.readAt();
    if (this.#closed || this.#pace !== undefined || socket === undefined || readAt === undefined) return;
    const waitMs = readAt - this.#clock.now();
    if (waitMs > 0) {
      this.#pace = this.#clock.after(waitMs, () => {
        this.#pace = undefined;
        this.#pump();
      });
      return;
    }
    // Asking for nothing also tells the stream to report its end, once everything was read.
    const bytes: Buffer | null = socket.read(Math.min(maxPayloadBytes, socket.readableLength));
    if (bytes !== null) this.#run(this.#channel.socketData(bytes, this.#clock.now()));
  }

  #setAlarm(): void {
    const at = this.#channel.deadline() ?? Infinity;
    if (at >= this.#alarmAt) return;
    this.#alarm?.cancel();
    this.#alarmAt = at;
    this.#alarm = this.#clock.after(Math.max(0, at - this.#clock.now()), () => {
      this.#alarmAt = Infinity;
      this.#run(this.#channel.tick(this.#clock.now()));
    });
  }
}
