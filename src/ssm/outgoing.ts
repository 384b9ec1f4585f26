// The sending half of the reliability layer (protocol.md 4.1, 4.4): bytes to numbered messages, kept until they are
// acknowledged. Pure: next(now) gives the message to put on the wire, deadline(now) says when to ask again.
//
// Laws: a number is given once and its message is resent with the same bytes (but for the probe below);
// nothing is ever evicted, a full window blocks the producer; data keeps its order.
//
// Payload size. 1,024 bytes is what the reference sends and all that AWS is known to accept; the agent takes far more
// (protocol.md section 16, row 2). The first time a full `maxPayloadBytes` waits, a probe of that size goes ahead of
// it; once it is acknowledged, payloads may have that size. If the gateway cuts the socket over it, it is made short,
// under its own number. The probe carries none of the user's bytes, because nobody can know whether it reached the
// agent before the cut, and bytes sent again under other numbers could arrive twice. It is a terminal size padded
// with blanks, which a port session counts, acknowledges and ignores (observed: agent 3.3.1142.0, port_basic.go).
import { InFlight, type Sent } from './in-flight.ts';
import { allocateMessage, overhead, PayloadType } from './message.ts';
import type { Pace } from './pace.ts';
import type { RoundTrip } from './round-trip.ts';
import { SendWindow } from './send-window.ts';

/** What the reference sends at most per message (protocol.md 4.4, StreamDataPayloadSize). */
export const referencePayloadBytes = 1024;

/** RFC 6455 7.4.1: message too big. */
const closedTooBig = 1009;
/** RFC 6455 7.4.1: normal closure; AWS's hourly "Bye" and our own. */
export const closedNormally = 1000;
/** Sockets lost with the probe on them that make a refusal, where the close code does not say it. */
const refusingCuts = 2;

/** Of the time that bytes may wait on the way: the time that one message takes. */
const messageShare = 0.25;
/** What waits here is queue as well: no more than goes out in so many milliseconds is asked for. */
const waitingMs = 10;
const mostWaitingBytes = 256 * 1024;

const never = Number.POSITIVE_INFINITY;

const terminalSize = Buffer.from('{"cols":80,"rows":24}');

export interface OutgoingOptions {
  /** Payload bytes per message at most; 1,024 or less sends no probe. */
  maxPayloadBytes: number;
  /** Numbers from the oldest unacknowledged message to the newest, at most. */
  windowMessages: number;
  /** Nothing new is numbered while this many payload bytes or more are in flight. */
  windowBytes: number;
  pace: Pace;
  /** Wall time (ms since 1970) at `now` = 0. */
  epoch: number;
  /** Writes the header of a stream data message around its payload. */
  seal(message: Buffer, sequenceNumber: number, payloadType: number, now: number): Buffer;
}

interface Waiting {
  readonly payloadType: number;
  bytes: Uint8Array;
}

type Probe =
  | { state: 'untried' | 'passed' | 'refused' }
  | { state: 'pending'; sent: Sent; transmissionsBefore: number; cuts: number };

export class Outgoing {
  readonly #options: OutgoingOptions;
  readonly #inFlight = new InFlight();
  readonly #window: SendWindow;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #lastOutput = -1;
  #probe: Probe;
  #dataAllowedAt = never;

  constructor(options: OutgoingOptions) {
    this.#options = options;
    this.#window = new SendWindow(options.epoch);
    this.#probe = { state: options.maxPayloadBytes > referencePayloadBytes ? 'untried' : 'refused' };
  }

  /** Payload bytes taken and not yet numbered: what a producer looks at to wait. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Payload bytes from the oldest unacknowledged message to the newest. */
  get inFlightBytes(): number {
    return this.#inFlight.payloadBytes;
  }

  get roundTrip(): RoundTrip {
    return this.#inFlight.roundTrip;
  }

  /** Whether the producer should write more: a message, and what goes out before it can write again. */
  get hasRoom(): boolean {
    const { maxPayloadBytes } = this.#options;
    const message = this.#probe.state === 'untried' && this.#fitsProbe ? maxPayloadBytes : this.#payloadLimit;
    return this.#waitingBytes <= Math.min(mostWaitingBytes, Math.max(message, this.#window.rate * waitingMs));
  }

  /** True when everything taken has been acknowledged. */
  get drained(): boolean {
    return this.#waiting.length === 0 && this.#inFlight.count === 0;
  }

  /** True when all output taken has been acknowledged, whatever became of the rest. */
  get delivered(): boolean {
    return (
      this.#inFlight.firstNumber > this.#lastOutput &&
      !this.#waiting.some(({ payloadType }) => payloadType === PayloadType.output)
    );
  }

  /** Takes bytes to send. They must not change until they are numbered. */
  write(bytes: Uint8Array, payloadType: number): void {
    if (bytes.length === 0) return; // neither reference can send an empty payload (3.3)
    const waiting = { payloadType, bytes };
    // Data that was taken early waits for the handshake, so the handshake must not wait behind it.
    if (payloadType === PayloadType.handshakeResponse) this.#waiting.unshift(waiting);
    else this.#waiting.push(waiting);
    this.#waitingBytes += bytes.length;
  }

  /** Data may go from a time on: not before the handshake is complete, when the agent would throw it away (4.3). */
  allowData(at: number): void {
    this.#dataAllowedAt = Math.min(this.#dataAllowedAt, at);
  }

  /** The next message for the wire: what is to be sent again first, then what is new; undefined if nothing may go now. */
  next(now: number): Buffer | undefined {
    if (this.#options.pace.readyAt(now) > now) return undefined;
    const sent = this.#inFlight.due(now) ?? (this.#cutAt() <= now ? this.#cut(now) : undefined);
    if (sent === undefined) return undefined;
    this.#options.pace.take(now);
    this.#inFlight.transmit(sent, this.#window.delivered, now);
    this.#window.sent(this.#inFlight.travellingBytes, now);
    return sent.message;
  }

  /** When next() will have something, if nothing else happens; undefined if never. */
  deadline(now: number): number | undefined {
    const ready = Math.min(this.#inFlight.dueAt(), this.#cutAt());
    return ready === never ? undefined : Math.max(ready, this.#options.pace.readyAt(now));
  }

  /** The agent has the message of this number. Returns false where it is none of ours or known already. */
  acknowledge(sequenceNumber: number, now: number): boolean {
    const sent = this.#inFlight.acknowledge(sequenceNumber, now);
    if (sent === undefined) return false;
    const { message, transmissions, sentAt, deliveredBefore } = sent;
    const timedAt = transmissions === 1 ? sentAt : undefined;
    this.#window.acknowledged({ bytes: message.length, sentAt: timedAt, deliveredBefore }, now);
    if (this.#probe.state === 'pending' && this.#probe.sent === sent) this.#probe = { state: 'passed' };
    return true;
  }

  /**
   * Evidence that the agent has its connection to the target. What was sent before and is not acknowledged in good
   * time was refused while it dialled (4.3): it is taken for lost sooner than the timeout would.
   */
  peerIsReady(): void {
    this.#inFlight.presumeLost();
  }

  /**
   * A new socket: everything unacknowledged goes again (protocol.md section 7).
   * @param closeCode how the old socket was closed, if it was
   * @returns `'payload-refused'` when the gateway turned out not to take large payloads: from now on 1,024 bytes.
   */
  reconnected(closeCode: number | undefined): 'payload-refused' | undefined {
    const refused = this.#probeRefused(closeCode);
    this.#inFlight.reconnected();
    this.#window.reconnected();
    return refused ? 'payload-refused' : undefined;
  }

  /** From when on the next message may be numbered. */
  #cutAt(): number {
    const first = this.#waiting[0];
    if (first === undefined) return never;
    if (first.payloadType === PayloadType.handshakeResponse) return 0;
    const { count, payloadBytes, travellingBytes } = this.#inFlight;
    if (count >= this.#options.windowMessages || payloadBytes >= this.#options.windowBytes) return never;
    if (travellingBytes < this.#window.bytes) return this.#dataAllowedAt;
    this.#window.limited();
    return never;
  }

  /** Numbers the next message. */
  #cut(now: number): Sent {
    const { maxPayloadBytes } = this.#options;
    const { payloadType, bytes } = this.#waiting[0]!;
    if (payloadType !== PayloadType.output) return this.#number(payloadType, this.#take(bytes.length), now);
    const available = this.#outputAvailable();
    const isProbeDue = this.#probe.state === 'untried' && available >= maxPayloadBytes && this.#fitsProbe;
    if (isProbeDue) return this.#cutProbe(now);
    this.#lastOutput = this.#inFlight.nextNumber;
    return this.#number(payloadType, this.#take(Math.min(available, this.#payloadLimit)), now);
  }

  #cutProbe(now: number): Sent {
    const sent = this.#number(PayloadType.size, probeOf(this.#options.maxPayloadBytes), now);
    this.#probe = { state: 'pending', sent, transmissionsBefore: 0, cuts: 0 };
    return sent;
  }

  /** On a slow line it would hold up everything else for long, and there is no need of large messages. */
  get #fitsProbe(): boolean {
    return this.#window.bytes >= this.#options.maxPayloadBytes;
  }

  /** A message is a small part of what may wait on the way, or it would make the others wait. */
  get #payloadLimit(): number {
    const { maxPayloadBytes } = this.#options;
    if (this.#probe.state !== 'passed') return Math.min(maxPayloadBytes, referencePayloadBytes);
    const { rate, targetMs } = this.#window;
    return Math.min(maxPayloadBytes, Math.max(referencePayloadBytes, Math.round(rate * targetMs * messageShare)));
  }

  #number(payloadType: number, message: Buffer, now: number): Sent {
    this.#options.seal(message, this.#inFlight.nextNumber, payloadType, now);
    return this.#inFlight.add(message);
  }

  /** Bytes of output that wait in front of the next message of another type; no more than matter are counted. */
  #outputAvailable(): number {
    let bytes = 0;
    for (const waiting of this.#waiting) {
      if (waiting.payloadType !== PayloadType.output || bytes >= this.#options.maxPayloadBytes) break;
      bytes += waiting.bytes.length;
    }
    return bytes;
  }

  /** A message with the next `length` waiting bytes for its payload. */
  #take(length: number): Buffer {
    const message = allocateMessage(length);
    let at = overhead;
    while (at < message.length) {
      const first = this.#waiting[0]!;
      const part = first.bytes.subarray(0, message.length - at);
      message.set(part, at);
      at += part.length;
      if (part.length === first.bytes.length) this.#waiting.shift();
      else first.bytes = first.bytes.subarray(part.length);
    }
    this.#waitingBytes -= length;
    return message;
  }

  #probeRefused(closeCode: number | undefined): boolean {
    const probe = this.#probe;
    if (probe.state !== 'pending') return false;
    const wasOnSocket = probe.sent.transmissions > probe.transmissionsBefore;
    probe.transmissionsBefore = probe.sent.transmissions;
    if (!wasOnSocket || closeCode === closedNormally) return false;
    probe.cuts += 1;
    if (closeCode !== closedTooBig && probe.cuts < refusingCuts) return false;
    const { sent } = probe;
    const message = probeOf(terminalSize.length);
    this.#options.seal(message, sent.sequenceNumber, PayloadType.size, sent.sentAt);
    this.#inFlight.replace(sent, message);
    this.#probe = { state: 'refused' };
    return true;
  }
}

function probeOf(payloadLength: number): Buffer {
  const message = allocateMessage(payloadLength);
  message.fill(' ', overhead);
  message.set(terminalSize, overhead);
  return message;
}
