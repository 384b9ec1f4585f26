// The SSM agent's half of a data channel as a state machine without I/O or clock, acting as
// amazon-ssm-agent 3.3.1142.0 does: protocol.md sections 3 to 6 and 16, and `agentBehaviour` and
// `portPluginBehaviour` of golden-messages.json. Its faults are kept on purpose (head-only resend, digests
// never checked, early input acknowledged and thrown away): a client is good if it works against this one.
import { randomUUID } from 'node:crypto';
import {
  Flag,
  HeaderFlags,
  type Message,
  MessageType,
  PayloadType,
  parseAcknowledge,
  parseJsonObject,
  parseMessage,
  serializeAcknowledge,
  serializeMessage,
} from '../../../src/ssm/message.ts';
import { Outgoing } from './outgoing.ts';

/** Bytes of sshd in one message (protocol.md 4.4, StreamDataPayloadSize). */
export const maxPayloadBytes = 1024;
/** As observed (4.4). */
const incomingCapacity = 100_000;
/** Waits for the HandshakeResponse (5.3). */
const handshakeTimeoutMs = 15_000;
/** How long an ended session waits for the acks of its last output (6.1). */
const closeWaitMs = 2_000;
/** The agent's own sleep after each message (4.4). */
const minimumReadPauseMs = 1;
/** Observed: 1 MiB in 1.46 s, sleep and all (golden `portPluginBehaviour`, pump speed): 0.72 MB/s. */
export const observedReadIntervalMs = 1460 / 1024;
/** How far a late timer is made up for, so that the speed is the observed one in spite of timers of 1 ms. */
const readCreditMs = 25;

export interface AgentChannelOptions {
  /** What the handshake announces, e.g. `3.3.1142.0`. */
  agentVersion: string;
  /** Of the session document (5.1), e.g. `{ portNumber: '22' }`. */
  properties: Record<string, string>;
  /** Time from the crash of the worker to its failure report where the port refuses (16, row 6). */
  refusedPortDelayMs?: number;
  /** Mean time from one read of the socket to the next under load; never below the agent's sleep of 1 ms. */
  readIntervalMs?: number;
  /** Milliseconds since 1970, for CreatedDate. */
  wallTime?: () => number;
  /** Messages held while an earlier one is missing; beyond it they are dropped without an ack (4.3). */
  incomingCapacity?: number;
  newMessageId?: () => string;
}

/** What the owner has to do, in this order. */
export type AgentAction =
  | { type: 'message'; message: Buffer }
  /** Connect to the port, then call `dialled` or `dialFailed`. */
  | { type: 'dial' }
  /** Write to the socket, then call `written`; until then the agent reads no message (`blocked`). */
  | { type: 'write'; bytes: Buffer }
  | { type: 'disconnect' }
  /**
   * The worker has ended; nothing comes after it. `output` is for channel_closed; `unacknowledged` messages may
   * never have reached the client.
   */
  | { type: 'ended'; status: 'Success' | 'Failed'; output: string; unacknowledged: number };

type State = 'handshake' | 'dialling' | 'open' | 'closing' | 'crashed' | 'ended';
type Verdict = 'done' | 'not-ready' | 'failed' | 'writing';

export class AgentChannel {
  readonly #options: Required<AgentChannelOptions>;
  readonly #outgoing = new Outgoing();
  readonly #incoming = new Map<number, Message>();
  #actions: AgentAction[] = [];
  #state: State = 'handshake';
  #startedAt = 0;
  #stateDeadline = Infinity;
  #nextSequenceNumber = 0;
  #expectedSequenceNumber = 0;
  /** The message whose payload the socket has not taken yet, and whether it is acknowledged after that. */
  #writing: { message: Message; acknowledge: boolean } | undefined;
  #answered = false;
  #paused = false;
  #writable = true;
  #readTarget = -Infinity;
  #readAt = -Infinity;
  #multiplexed = false;
  #end: { status: 'Success' | 'Failed'; output: string } = { status: 'Success', output: '' };

  constructor(options: AgentChannelOptions) {
    this.#options = {
      refusedPortDelayMs: 60_000,
      readIntervalMs: observedReadIntervalMs,
      wallTime: Date.now,
      incomingCapacity,
      newMessageId: randomUUID,
      ...options,
    };
  }

  /** True while the socket does not take what was written: the agent's reader stands still. */
  get blocked(): boolean {
    return this.#writing !== undefined;
  }

  /** Whether the session's bytes are smux frames: known when the client has answered the handshake (5.3). */
  get isMultiplexed(): boolean {
    return this.#multiplexed;
  }

  /** The next time `tick` has something to do; undefined: never, unless something else happens. */
  deadline(): number | undefined {
    const resendAt = this.#maySend ? this.#outgoing.nextTick : Infinity;
    const at = Math.min(this.#stateDeadline, resendAt);
    return at === Infinity ? undefined : at;
  }

  /** When the socket may be read next; undefined while it may not be read at all. */
  readAt(): number | undefined {
    return this.#state === 'open' && this.#maySend ? this.#readAt : undefined;
  }

  /** Sends the HandshakeRequest. Once, before anything else. */
  start(now: number): AgentAction[] {
    this.#startedAt = now;
    this.#outgoing.start(now);
    this.#stateDeadline = now + handshakeTimeoutMs;
    const request = {
      AgentVersion: this.#options.agentVersion,
      RequestedClientActions: [
        {
          ActionType: 'SessionType',
          ActionParameters: { SessionType: 'Port', Properties: this.#options.properties },
        },
      ],
    };
    this.#sendStreamData(PayloadType.handshakeRequest, Buffer.from(JSON.stringify(request)), now);
    return this.#take();
  }

  /** A message that came through the gateway. Never throws for what a peer wrote. */
  receive(bytes: Buffer, now: number): AgentAction[] {
    if (this.blocked) throw new Error('the agent does not read while its write to the port is blocked');
    if (this.#state === 'crashed' || this.#state === 'ended') return [];
    const message = parse(bytes);
    if (message === undefined) return [];
    switch (message.messageType) {
      case MessageType.inputStreamData:
        this.#paused = false;
        this.#receiveStreamData(message, now);
        break;
      case MessageType.acknowledge:
        this.#paused = false;
        this.#receiveAcknowledge(message, now);
        break;
      case MessageType.pausePublication:
        this.#paused = true;
        break;
      case MessageType.startPublication:
        this.#paused = false;
        break;
      case MessageType.channelClosed:
        return this.cancel('', now);
    }
    this.#endIfDrained();
    return this.#take();
  }

  /** The connection to the port stands. */
  dialled(): AgentAction[] {
    if (this.#state === 'dialling') this.#state = 'open';
    return [];
  }

  /** Observed: the worker dies of a nil connection; nobody hears of it before its owner misses it (6.1; 16, row 6). */
  dialFailed(now: number): AgentAction[] {
    if (this.#state !== 'dialling') return [];
    this.#state = 'crashed';
    this.#end = {
      status: 'Failed',
      output:
        'document process failed unexpectedly: ipc messaging received timeout signal' +
        ' , check [ssm-document-worker]/[ssm-session-worker] log for crash reason',
    };
    this.#outgoing.clear(); // The process is gone.
    this.#incoming.clear();
    this.#stateDeadline = now + this.#options.refusedPortDelayMs;
    return [];
  }

  /** The port plugin does not want to go there: its reason is the session's output. */
  destinationRefused(reason: string, now: number): AgentAction[] {
    if (this.#state === 'dialling') this.#close('Failed', reason, now);
    this.#endIfDrained();
    return this.#take();
  }

  /** A connection of a multiplexed session could not be made; which one is not said (6.3). */
  connectError(now: number): AgentAction[] {
    if (this.#state !== 'open') return [];
    const flag = Buffer.alloc(4);
    flag.writeUInt32BE(Flag.connectToPortError);
    this.#sendStreamData(PayloadType.flag, flag, now);
    return this.#take();
  }

  /** The socket took the bytes of the last `write`. */
  written(now: number): AgentAction[] {
    const done = this.#writing;
    if (done === undefined) return [];
    this.#writing = undefined;
    this.#advance(done.message, done.acknowledge, now);
    this.#endIfDrained();
    return this.#take();
  }

  /** At most `maxPayloadBytes` read from the socket, not before `readAt`. */
  socketData(bytes: Uint8Array, now: number): AgentAction[] {
    if (bytes.length > maxPayloadBytes) throw new Error(`the agent reads at most ${maxPayloadBytes} bytes`);
    if (this.#state !== 'open') return [];
    const { readIntervalMs } = this.#options;
    this.#readTarget = Math.max(this.#readTarget, now - readCreditMs) + readIntervalMs;
    this.#readAt = Math.max(this.#readTarget, now + minimumReadPauseMs);
    // Observed: what was read is stored while paused, and goes out by the resend tick alone (4.5).
    this.#sendStreamData(PayloadType.output, bytes, now);
    return this.#take();
  }

  /** sshd closed its side: the session ends with Success; there is no half-close (6.1). */
  socketEof(now: number): AgentAction[] {
    if (this.#state === 'open') this.#close('Success', '', now);
    this.#endIfDrained();
    return this.#take();
  }

  /** The connection broke (6.1: RST, read error). */
  socketError(now: number): AgentAction[] {
    if (this.#state === 'open') this.#close('Failed', '', now);
    this.#endIfDrained();
    return this.#take();
  }

  /** The service ended the session: API call, idle timeout, maximum duration (6.1). */
  cancel(output: string, now: number): AgentAction[] {
    if (this.#state === 'ended') return [];
    if (this.#state === 'crashed') this.#state = 'closing';
    else if (this.#state !== 'closing') this.#close('Success', output, now);
    this.#end.output = output;
    this.#finish();
    return this.#take();
  }

  /** Whether the websocket takes messages. While it does not, the pump and the resend tick stand still. */
  setWritable(writable: boolean): void {
    this.#writable = writable;
  }

  /** Lets time pass: resends, and the deadlines of handshake, close and crash. */
  tick(now: number): AgentAction[] {
    if (this.#maySend) {
      const message = this.#outgoing.due(now);
      if (message !== undefined) this.#actions.push({ type: 'message', message });
    }
    if (now >= this.#stateDeadline) {
      this.#stateDeadline = Infinity;
      if (this.#state === 'handshake') this.#failHandshake(handshakeTimedOut, now);
      else this.#finish();
    }
    return this.#take();
  }

  get #maySend(): boolean {
    return !this.#paused && this.#writable;
  }

  // protocol.md 4.3, column Agent.
  #receiveStreamData(message: Message, now: number): void {
    if (message.sequenceNumber > this.#expectedSequenceNumber) {
      if (this.#incoming.size >= this.#options.incomingCapacity) return;
      this.#acknowledge(message);
      this.#incoming.set(message.sequenceNumber, message);
    } else if (message.sequenceNumber < this.#expectedSequenceNumber) {
      this.#acknowledge(message);
    } else {
      const verdict = this.#process(message, now);
      if (verdict === 'writing') this.#writing = { message, acknowledge: true };
      else if (verdict === 'done') this.#advance(message, true, now);
    }
  }

  /** Acknowledges a message that was taken in order, then takes those that waited for it. */
  #advance(message: Message, acknowledge: boolean, now: number): void {
    if (acknowledge) this.#acknowledge(message);
    this.#incoming.delete(this.#expectedSequenceNumber);
    this.#expectedSequenceNumber++;
    for (let next = this.#buffered(); next !== undefined; next = this.#buffered()) {
      const verdict = this.#process(next, now);
      if (verdict === 'writing') this.#writing = { message: next, acknowledge: false };
      if (verdict !== 'done') break;
      this.#incoming.delete(this.#expectedSequenceNumber);
      this.#expectedSequenceNumber++;
    }
    // Last, since the reader is ahead of the thread that completes the handshake (5.3).
    if (this.#answered && this.#state === 'handshake') this.#completeHandshake(now);
  }

  #buffered(): Message | undefined {
    return this.#incoming.get(this.#expectedSequenceNumber);
  }

  #process(message: Message, now: number): Verdict {
    if (message.payloadType === PayloadType.handshakeResponse) return this.#receiveHandshakeResponse(message, now);
    if (message.payloadType === PayloadType.encChallengeResponse) return 'failed';
    switch (this.#state) {
      case 'handshake':
        return 'done'; // Counted and thrown away (4.3).
      case 'dialling':
        return 'not-ready';
      case 'open':
        return this.#handle(message, now);
      default:
        return 'failed';
    }
  }

  // The port plugin's own part (6.1).
  #handle(message: Message, now: number): Verdict {
    if (message.payloadType === PayloadType.output && message.payload.length > 0) {
      this.#actions.push({ type: 'write', bytes: message.payload });
      return 'writing';
    }
    if (message.payloadType === PayloadType.flag && message.payload.length >= 4) {
      const flag = message.payload.readUInt32BE(0);
      if (flag === Flag.terminateSession) this.#close('Success', '', now);
      if (flag === Flag.disconnectToPort && !this.#multiplexed) this.#close('Failed', '', now);
    }
    return 'done';
  }

  #receiveHandshakeResponse(message: Message, now: number): Verdict {
    let actions: unknown;
    let clientVersion: unknown;
    try {
      const response = parseJsonObject(message.payload, 'HandshakeResponse');
      actions = response.ProcessedClientActions ?? [];
      clientVersion = response.ClientVersion;
    } catch {
      return 'failed';
    }
    if (!Array.isArray(actions)) return 'failed';
    if (this.#state !== 'handshake') return 'done';
    this.#answered = true;
    this.#multiplexed =
      this.#options.properties.type === 'LocalPortForwarding' && isAtLeast(String(clientVersion), firstWithMux);
    const failed = actions.find((action) => action?.ActionStatus !== 1);
    if (failed !== undefined) {
      const { ActionType = '', ActionStatus = 0, Error: error = '' } = failed ?? {};
      this.#failHandshake(`${ActionType} failed on client with status ${ActionStatus} error: ${error}`, now);
    }
    return 'done';
  }

  #completeHandshake(now: number): void {
    const complete = { HandshakeTimeToComplete: Math.round((now - this.#startedAt) * 1e6), CustomerMessage: '' };
    this.#sendStreamData(PayloadType.handshakeComplete, Buffer.from(JSON.stringify(complete)), now);
    this.#state = 'dialling';
    this.#stateDeadline = Infinity;
    this.#actions.push({ type: 'dial' });
  }

  #failHandshake(reason: string, now: number): void {
    this.#close('Failed', `Encountered error while initiating handshake. ${reason}`, now);
    this.#endIfDrained();
  }

  /** TCP goes at once; the worker stays for the acks of its last output, 2 s at most. */
  #close(status: 'Success' | 'Failed', output: string, now: number): void {
    if (this.#state === 'open' || this.#state === 'dialling') this.#actions.push({ type: 'disconnect' });
    this.#state = 'closing';
    this.#writing = undefined; // The write fails: no ack, no advance.
    this.#end = { status, output };
    this.#stateDeadline = now + closeWaitMs;
  }

  #endIfDrained(): void {
    if (this.#state === 'closing' && this.#outgoing.size === 0) this.#finish();
  }

  #finish(): void {
    this.#state = 'ended';
    this.#stateDeadline = Infinity;
    this.#actions.push({ type: 'ended', ...this.#end, unacknowledged: this.#outgoing.size });
    this.#outgoing.clear();
    this.#incoming.clear();
  }

  #receiveAcknowledge(message: Message, now: number): void {
    try {
      this.#outgoing.acknowledged(parseAcknowledge(message.payload).sequenceNumber, now);
    } catch {
      // Logged and skipped by the agent.
    }
  }

  #acknowledge({ messageType, messageId, sequenceNumber }: Message): void {
    const message = serializeMessage({
      messageType: MessageType.acknowledge,
      createdDate: this.#options.wallTime(),
      sequenceNumber: 0,
      flags: HeaderFlags.unsequenced,
      messageId: this.#options.newMessageId(),
      payloadType: PayloadType.none,
      payload: serializeAcknowledge({ messageType, messageId, sequenceNumber }),
    });
    this.#actions.push({ type: 'message', message });
  }

  #sendStreamData(payloadType: number, payload: Uint8Array, now: number): void {
    if (payload.length === 0) return;
    const sequenceNumber = this.#nextSequenceNumber++;
    const message = serializeMessage({
      messageType: MessageType.outputStreamData,
      createdDate: this.#options.wallTime(),
      sequenceNumber,
      flags: sequenceNumber === 0 ? HeaderFlags.syn : HeaderFlags.data,
      messageId: this.#options.newMessageId(),
      payloadType,
      payload,
    });
    if (!this.#paused) this.#actions.push({ type: 'message', message });
    this.#outgoing.add(sequenceNumber, message, now);
  }

  #take(): AgentAction[] {
    const actions = this.#actions;
    this.#actions = [];
    return actions;
  }
}

/** Clients from here on speak smux on a session of type LocalPortForwarding (5.3). */
const firstWithMux = [1, 1, 70];

function isAtLeast(version: string, least: number[]): boolean {
  const numbers = version.split('.').map(Number);
  for (const [at, number] of least.entries()) {
    if (numbers[at] !== number) return (numbers[at] ?? 0) > number;
  }
  return true;
}

const handshakeTimedOut =
  'Handshake timed out. Please ensure that you have the latest version of the session manager plugin.';

function parse(bytes: Buffer): Message | undefined {
  try {
    const message = parseMessage(bytes);
    return message.createdDate === 0 ? undefined : message; // 3.3: the agent checks it for every type.
  } catch {
    return undefined;
  }
}
