// The client's side of a data channel as a pure state machine (protocol.md sections 3 to 6.1): messages and bytes in,
// events and messages out. It opens no socket and reads no clock: `now` is milliseconds on the caller's clock.
//
// Laws: nothing but the handshake is sent before HandshakeComplete (4.3); bytes are delivered once and in order;
// every stream data message that was taken or known is acknowledged, also a second time (4.3, trap 10), no other;
// a message that can't be read or whose digest is wrong is dropped and never ends more than itself (3.3).
import { KeyholeError } from '../errors.ts';
import { answerHandshake, parseHandshakeComplete, parseHandshakeRequest } from './handshake.ts';
import { Incoming } from './incoming.ts';
import {
  type Acknowledge,
  Flag,
  HeaderFlags,
  type Message,
  MessageType,
  PayloadType,
  parseAcknowledge,
  parseJsonObject,
  parseMessage,
  sealMessage,
  serializeAcknowledge,
  serializeMessage,
  textOf,
} from './message.ts';
import { Outgoing } from './outgoing.ts';
import { Pace } from './pace.ts';

export type ChannelEvent =
  /** HandshakeComplete came: data flows. */
  | { type: 'opened'; agentVersion: string; customerMessage: string }
  /** The target's next bytes; a view of the received message. */
  | { type: 'output'; bytes: Buffer }
  /**
   * channel_closed came. `output` is the service's or agent's text, normally empty. `missing` says that messages
   * behind a gap had arrived: the end of the stream is lost (6.1).
   */
  | { type: 'closed'; output: string; missing: boolean }
  /** The handshake asked for something that is impossible here; the agent will cancel the session. */
  | { type: 'refused'; error: KeyholeError }
  /** The agent's flag ConnectToPortError, on a multiplexed session only (6.3). */
  | { type: 'connect-error' }
  /** Something was not taken; for counters and debugging. */
  | { type: 'dropped'; why: string };

export interface ChannelOptions {
  /** Sent in the handshake; decides what the agent does (5.3). */
  clientVersion: string;
  maxPayloadBytes: number;
  maxMessagesPerSecond: number;
  windowMessages?: number;
  windowBytes?: number;
  /** How far ahead of a gap messages are kept. */
  maxAheadMessages?: number;
  acknowledgeDelayMs?: number;
  holdAfterHandshakeMs?: number;
  /** Wall time (ms since 1970) at `now` = 0, for CreatedDate. */
  epoch: number;
  /** A fresh UUID, hyphenated lower case. */
  uuid(): string;
}

/**
 * In flight at most, whatever the window (send-window.ts): what 300 ms of round trip need at the highest rate, 900 messages
 * of 32 KiB per second. The agent takes 100,000 messages out of order (4.4).
 */
const defaultWindowMessages = 1000;
const defaultWindowBytes = 12 * 2 ** 20;
/** Acknowledgements that wait for the socket at most; the agent resends what was not acknowledged. */
const maxPendingAcknowledges = 20_000;
/**
 * How long an acknowledgement waits for others to share a write with. At once would be worse than wasteful: one that
 * reaches the agent before it has filed its own message makes it send that again and again (section 16, row 3).
 */
const defaultAcknowledgeDelayMs = 4;
/** So many don't wait. */
const acknowledgeBatch = 32;
/**
 * How long data waits after HandshakeComplete unless the target speaks first, as SSH servers do. The agent sends that
 * message and only then begins to take data: what comes in between is acknowledged and thrown away (5.3; observed with
 * agent 3.3.1142.0: 3 of 150 connections lost their first bytes, and none of 410 with this wait).
 */
const defaultHoldAfterHandshakeMs = 250;

export class DataChannel {
  readonly #options: ChannelOptions;
  readonly #incoming: Incoming;
  readonly #outgoing: Outgoing;
  readonly #pace: Pace;
  #acknowledges: Acknowledge[] = [];
  /** When they are to go, if any wait. */
  #acknowledgeAt = 0;
  #agentVersion = '';
  #state: 'handshaking' | 'open' | 'closed' = 'handshaking';
  #terminating = false;
  #sawOutput = false;

  constructor(options: ChannelOptions) {
    this.#options = options;
    this.#incoming = new Incoming(options.maxAheadMessages);
    this.#pace = new Pace(options.maxMessagesPerSecond);
    this.#outgoing = new Outgoing({
      maxPayloadBytes: options.maxPayloadBytes,
      windowMessages: options.windowMessages ?? defaultWindowMessages,
      windowBytes: options.windowBytes ?? defaultWindowBytes,
      pace: this.#pace,
      epoch: options.epoch,
      seal: (message, sequenceNumber, payloadType, now) =>
        sealMessage(message, {
          messageType: MessageType.inputStreamData,
          createdDate: this.#wallTime(now),
          sequenceNumber,
          flags: HeaderFlags.data,
          messageId: options.uuid(),
          payloadType,
        }),
    });
  }

  get state(): 'handshaking' | 'open' | 'closed' {
    return this.#state;
  }

  /** Empty until the handshake. */
  get agentVersion(): string {
    return this.#agentVersion;
  }

  /** Bytes taken by write() and not sent yet. */
  get backlogBytes(): number {
    return this.#outgoing.waitingBytes;
  }

  /** Whether the producer should write more: what waits here makes everything behind it wait. */
  get hasRoom(): boolean {
    return this.#outgoing.hasRoom;
  }

  /** Bytes sent, from the oldest that is not acknowledged on. */
  get inFlightBytes(): number {
    return this.#outgoing.inFlightBytes;
  }

  /** True when all bytes taken by write() have been acknowledged. */
  get delivered(): boolean {
    return this.#outgoing.delivered;
  }

  /** True when everything taken by write() and terminate() has been acknowledged. */
  get drained(): boolean {
    return this.#outgoing.drained;
  }

  /** Smoothed round trip to the agent, ms; undefined until measured. */
  get roundTripMs(): number | undefined {
    return this.#outgoing.roundTrip.smoothed;
  }

  /** Takes one websocket message from the service. Never throws, whatever the bytes. */
  receive(bytes: Uint8Array, now: number): ChannelEvent[] {
    if (this.#state === 'closed') return [];
    try {
      return this.#receive(parseMessage(bytes), now);
    } catch (error) {
      if (error instanceof KeyholeError) return [{ type: 'dropped', why: error.message }];
      throw error;
    }
  }

  /** Takes bytes for the target. They must stay unchanged until they are sent. Ignored once closed or terminating. */
  write(bytes: Uint8Array): void {
    if (this.#state !== 'closed' && !this.#terminating) this.#outgoing.write(bytes, PayloadType.output);
  }

  /** Asks the agent to end the session behind everything written so far (6.1, recommended close). */
  terminate(): void {
    if (this.#terminating || this.#state === 'closed') return;
    this.#terminating = true;
    const flag = Buffer.alloc(4);
    flag.writeUInt32BE(Flag.terminateSession);
    this.#outgoing.write(flag, PayloadType.flag);
  }

  /** The next message for the socket: acknowledgements that are due, then what is sent again, then what is new. */
  next(now: number): Buffer | undefined {
    if (this.#state === 'closed') return undefined;
    if (this.#acknowledges.length > 0 && this.#acknowledgeAt <= now) return this.#nextAcknowledge(now);
    const message = this.#outgoing.next(now);
    // What goes anyway takes them along.
    if (message !== undefined) this.#acknowledgeAt = now;
    return message;
  }

  #nextAcknowledge(now: number): Buffer {
    const acknowledge = this.#acknowledges.shift()!;
    this.#pace.note(now);
    return serializeMessage({
      messageType: MessageType.acknowledge,
      createdDate: this.#wallTime(now),
      sequenceNumber: 0,
      flags: HeaderFlags.unsequenced,
      messageId: this.#options.uuid(),
      payloadType: PayloadType.none,
      payload: serializeAcknowledge(acknowledge),
    });
  }

  /** When next() may have something though nothing happened; undefined if never. */
  deadline(now: number): number | undefined {
    if (this.#state === 'closed') return undefined;
    const outgoing = this.#outgoing.deadline(now);
    if (this.#acknowledges.length === 0) return outgoing;
    return Math.min(Math.max(now, this.#acknowledgeAt), outgoing ?? Number.POSITIVE_INFINITY);
  }

  /**
   * There is a new socket, with OpenDataChannel sent: what was not acknowledged goes again (section 7).
   * @param closeCode how the lost socket was closed, by whichever side; undefined where it was not
   * @returns `'payload-refused'` where the gateway refuses payloads above 1,024 bytes (see outgoing.ts).
   */
  reconnected(closeCode?: number): 'payload-refused' | undefined {
    return this.#outgoing.reconnected(closeCode);
  }

  #receive(message: Message, now: number): ChannelEvent[] {
    switch (message.messageType) {
      case MessageType.outputStreamData:
        return this.#receiveStreamData(message, now);
      case MessageType.acknowledge:
        return this.#receiveAcknowledge(message, now);
      case MessageType.channelClosed:
        return this.#receiveChannelClosed(message);
      default:
        // start_publication and pause_publication included: acknowledgement and resending do their work (4.5).
        return [];
    }
  }

  #receiveStreamData(message: Message, now: number): ChannelEvent[] {
    if (!message.digestMatches()) return [{ type: 'dropped', why: 'the digest is wrong' }];
    const arrival = this.#incoming.receive(message);
    if (arrival === 'dropped') return [{ type: 'dropped', why: 'too far ahead' }];
    if (this.#acknowledges.length < maxPendingAcknowledges) {
      // Not the message: its payload would stay in memory for as long as the socket takes nothing.
      const { messageType, messageId, sequenceNumber } = message;
      if (this.#acknowledges.length === 0)
        this.#acknowledgeAt = now + (this.#options.acknowledgeDelayMs ?? defaultAcknowledgeDelayMs);
      if (this.#acknowledges.push({ messageType, messageId, sequenceNumber }) >= acknowledgeBatch)
        this.#acknowledgeAt = now;
    }
    if (arrival !== 'next') return [];
    const events: ChannelEvent[] = [];
    for (let next: Message | undefined = message; next !== undefined; next = this.#incoming.take()) {
      try {
        this.#deliver(next, events, now);
      } catch (error) {
        if (!(error instanceof KeyholeError)) throw error;
        events.push({ type: 'dropped', why: error.message });
      }
    }
    return events;
  }

  /** One message in order. */
  #deliver(message: Message, events: ChannelEvent[], now: number): void {
    switch (message.payloadType) {
      case PayloadType.output:
        // The first output proves that the agent has its connection: it takes what it left unacknowledged before.
        if (!this.#sawOutput) {
          this.#outgoing.peerIsReady();
          if (this.#state === 'open') this.#outgoing.allowData(now);
        }
        this.#sawOutput = true;
        if (message.payload.length > 0) events.push({ type: 'output', bytes: message.payload });
        return;
      case PayloadType.handshakeRequest:
        this.#answerHandshake(message, events);
        return;
      case PayloadType.handshakeComplete:
        this.#completeHandshake(message, events, now);
        return;
      case PayloadType.flag:
        if (message.payload.length >= 4 && message.payload.readUInt32BE(0) === Flag.connectToPortError) {
          events.push({ type: 'connect-error' });
          return;
        }
        events.push({ type: 'dropped', why: 'a flag that agents do not send' });
        return;
      default:
        // Stderr and exit codes have no place in a raw port session and must not reach the reader (trap 23).
        events.push({ type: 'dropped', why: `payload type ${message.payloadType} in a port session` });
    }
  }

  #answerHandshake(message: Message, events: ChannelEvent[]): void {
    if (this.#state !== 'handshaking') return;
    const request = parseHandshakeRequest(message.payload);
    this.#agentVersion = request.agentVersion;
    const answer = answerHandshake(request, this.#options.clientVersion);
    this.#outgoing.write(answer.payload, PayloadType.handshakeResponse);
    if (answer.refused !== undefined) {
      const error = new KeyholeError('unsupported-session', answer.refused, {
        hint: 'use AWS-StartSSHSession, or a session document of sessionType Port',
      });
      events.push({ type: 'refused', error });
    }
  }

  #completeHandshake(message: Message, events: ChannelEvent[], now: number): void {
    if (this.#state !== 'handshaking') return;
    const { customerMessage } = parseHandshakeComplete(message.payload);
    this.#state = 'open';
    const hold = this.#options.holdAfterHandshakeMs ?? defaultHoldAfterHandshakeMs;
    this.#outgoing.allowData(this.#sawOutput ? now : now + hold);
    events.push({ type: 'opened', agentVersion: this.#agentVersion, customerMessage });
  }

  #receiveAcknowledge(message: Message, now: number): ChannelEvent[] {
    // A damaged number would release a message that never arrived.
    if (!message.digestMatches()) return [{ type: 'dropped', why: 'the digest is wrong' }];
    // The number is the JSON's; the header's is always 0 (4.2, trap 9).
    this.#outgoing.acknowledge(parseAcknowledge(message.payload).sequenceNumber, now);
    return [];
  }

  #receiveChannelClosed(message: Message): ChannelEvent[] {
    let output = '';
    try {
      output = textOf(parseJsonObject(message.payload, 'channel_closed').Output);
    } catch {
      // The end of the session counts, whatever its text.
    }
    this.#state = 'closed';
    this.#acknowledges = [];
    return [{ type: 'closed', output, missing: this.#incoming.hasGap }];
  }

  #wallTime(now: number): number {
    return Math.max(1, Math.round(this.#options.epoch + now));
  }
}
