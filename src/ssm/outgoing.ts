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
import { allocateMessage, overhead, PayloadType } from './message.ts';
import type { Pace } from './pace.ts';
import { RoundTrip } from './round-trip.ts';

/** What the reference sends at most per message (protocol.md 4.4, StreamDataPayloadSize). */
export const referencePayloadBytes = 1024;

/** A message is taken for lost when one sent this many numbers later has been acknowledged (as TCP's three duplicates). */
const reorderTolerance = 3;
/** RFC 6455 7.4.1: message too big. */
const closedTooBig = 1009;
/** RFC 6455 7.4.1: normal closure; AWS's hourly "Bye" and our own. */
export const closedNormally = 1000;
/** Sockets lost with the probe on them that make a refusal, where the close code does not say it. */
const refusingCuts = 2;

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
  /** Writes the header of a stream data message around its payload. */
  seal(message: Buffer, sequenceNumber: number, payloadType: number, now: number): Buffer;
}

interface Sent {
  readonly sequenceNumber: number;
  message: Buffer;
  payloadLength: number;
  /** Time of the last transmission. */
  sentAt: number;
  transmissions: number;
  acknowledged: boolean;
}

interface Waiting {
  readonly payloadType: number;
  bytes: Uint8Array;
}

type Probe =
  | { state: 'untried' | 'passed' | 'refused' }
  | { state: 'pending'; sent: Sent; transmissionsBefore: number; cuts: number };

export class Outgoing {
  readonly roundTrip = new RoundTrip();
  readonly #options: OutgoingOptions;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  /**
   * From the oldest unacknowledged message to the newest: index = number − #base. Acknowledged ones in between count
   * for the window too: the agent keeps them until the gap is closed.
   */
  #sent: Sent[] = [];
  #base = 0;
  #inFlightBytes = 0;
  #lastOutput = -1;
  #highestAcknowledged = -1;
  /** When the agent was last heard to have something new. */
  #progressedAt = Number.NEGATIVE_INFINITY;
  /** Up to this number, no later acknowledgement is needed to take a message for lost. */
  #provenLost = -1;
  /** After a reconnect: what is to be sent again, oldest first. */
  #again: Sent[] = [];
  #probe: Probe;
  #dataAllowedAt = never;

  constructor(options: OutgoingOptions) {
    this.#options = options;
    this.#probe = { state: options.maxPayloadBytes > referencePayloadBytes ? 'untried' : 'refused' };
  }

  /** Payload bytes taken and not yet numbered: what a producer looks at to wait. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Payload bytes from the oldest unacknowledged message to the newest. */
  get inFlightBytes(): number {
    return this.#inFlightBytes;
  }

  /** True when everything taken has been acknowledged. */
  get drained(): boolean {
    return this.#waiting.length === 0 && this.#sent.length === 0;
  }

  /** True when all output taken has been acknowledged, whatever became of the rest. */
  get delivered(): boolean {
    return (
      this.#base > this.#lastOutput && !this.#waiting.some(({ payloadType }) => payloadType === PayloadType.output)
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
    const sent = this.#due(now) ?? (this.#cutAt() <= now ? this.#cut(now) : undefined);
    if (sent === undefined) return undefined;
    this.#options.pace.take(now);
    sent.sentAt = now;
    sent.transmissions += 1;
    return sent.message;
  }

  /** When next() will have something, if nothing else happens; undefined if never. */
  deadline(now: number): number | undefined {
    const ready = this.#firstAgain() !== undefined ? now : Math.min(this.#cutAt(), this.#resendAt() ?? never);
    return ready === never ? undefined : Math.max(ready, this.#options.pace.readyAt(now));
  }

  /** The agent has the message of this number. Returns false where it is none of ours or known already. */
  acknowledge(sequenceNumber: number, now: number): boolean {
    const sent = this.#sent[sequenceNumber - this.#base];
    if (sent === undefined || sent.acknowledged) return false;
    sent.acknowledged = true;
    if (sent.transmissions === 1) this.roundTrip.sample(now - sent.sentAt);
    else this.roundTrip.progressed();
    this.#progressedAt = now;
    this.#highestAcknowledged = Math.max(this.#highestAcknowledged, sequenceNumber);
    if (this.#probe.state === 'pending' && this.#probe.sent === sent) this.#probe = { state: 'passed' };
    while (this.#sent[0]?.acknowledged) {
      this.#inFlightBytes -= this.#sent.shift()!.payloadLength;
      this.#base += 1;
    }
    return true;
  }

  /**
   * Evidence that the agent has its connection to the target. What was sent before and is not acknowledged in good
   * time was refused while it dialled (4.3): it is taken for lost sooner than the timeout would.
   */
  peerIsReady(): void {
    this.#provenLost = this.#base + this.#sent.length - 1;
  }

  /**
   * A new socket: everything unacknowledged goes again (protocol.md section 7).
   * @param closeCode how the old socket was closed, if it was
   * @returns `'payload-refused'` when the gateway turned out not to take large payloads: from now on 1,024 bytes.
   */
  reconnected(closeCode: number | undefined): 'payload-refused' | undefined {
    this.roundTrip.reconnected();
    const refused = this.#probeRefused(closeCode);
    this.#again = this.#sent.filter((sent) => !sent.acknowledged);
    return refused ? 'payload-refused' : undefined;
  }

  /** What is to be sent again now: after a reconnect everything, else what timed out or was overtaken. */
  #due(now: number): Sent | undefined {
    if (this.#firstAgain() !== undefined) return this.#again.shift();
    for (const sent of this.#sent) {
      if (sent.acknowledged) continue;
      const wait = this.#resendWait(sent);
      if (wait === undefined) return undefined;
      if (now < sent.sentAt + wait) continue;
      // A message that became the oldest only now may be overdue, but the peer is not silent.
      if (sent === this.#sent[0] && now >= this.#progressedAt + this.roundTrip.timeout) this.roundTrip.timedOut();
      return sent;
    }
    return undefined;
  }

  #resendAt(): number | undefined {
    let at: number | undefined;
    for (const sent of this.#sent) {
      if (sent.acknowledged) continue;
      const wait = this.#resendWait(sent);
      if (wait === undefined) break;
      at = Math.min(at ?? Number.POSITIVE_INFINITY, sent.sentAt + wait);
    }
    return at;
  }

  /**
   * How long after its last transmission an unacknowledged message goes again; undefined for one that is not the
   * oldest (4.4, head only) and was not overtaken either. If it has none, those behind it have none.
   */
  #resendWait(sent: Sent): number | undefined {
    const { sequenceNumber, transmissions } = sent;
    const overtaken =
      sequenceNumber + reorderTolerance <= this.#highestAcknowledged || sequenceNumber <= this.#provenLost;
    if (overtaken && transmissions === 1) return this.roundTrip.reorderWait;
    return overtaken || sent === this.#sent[0] ? this.roundTrip.timeout : undefined;
  }

  #firstAgain(): Sent | undefined {
    while (this.#again[0]?.acknowledged) this.#again.shift();
    return this.#again[0];
  }

  /** From when on the next message may be numbered. */
  #cutAt(): number {
    const first = this.#waiting[0];
    if (first === undefined) return never;
    if (first.payloadType === PayloadType.handshakeResponse) return 0;
    const hasRoom = this.#sent.length < this.#options.windowMessages && this.#inFlightBytes < this.#options.windowBytes;
    return hasRoom ? this.#dataAllowedAt : never;
  }

  /** Numbers the next message. */
  #cut(now: number): Sent {
    const { maxPayloadBytes } = this.#options;
    const { payloadType, bytes } = this.#waiting[0]!;
    if (payloadType !== PayloadType.output) return this.#number(payloadType, this.#take(bytes.length), now);
    const available = this.#outputAvailable();
    if (this.#probe.state === 'untried' && available >= maxPayloadBytes) return this.#cutProbe(now);
    const limit = this.#probe.state === 'passed' ? maxPayloadBytes : Math.min(maxPayloadBytes, referencePayloadBytes);
    this.#lastOutput = this.#base + this.#sent.length;
    return this.#number(payloadType, this.#take(Math.min(available, limit)), now);
  }

  #cutProbe(now: number): Sent {
    const sent = this.#number(PayloadType.size, probeOf(this.#options.maxPayloadBytes), now);
    this.#probe = { state: 'pending', sent, transmissionsBefore: 0, cuts: 0 };
    return sent;
  }

  #number(payloadType: number, message: Buffer, now: number): Sent {
    const sequenceNumber = this.#base + this.#sent.length;
    const payloadLength = message.length - overhead;
    this.#options.seal(message, sequenceNumber, payloadType, now);
    const sent: Sent = { sequenceNumber, message, payloadLength, sentAt: now, transmissions: 0, acknowledged: false };
    this.#sent.push(sent);
    this.#inFlightBytes += payloadLength;
    return sent;
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
    this.#inFlightBytes += terminalSize.length - sent.payloadLength;
    sent.payloadLength = terminalSize.length;
    sent.message = probeOf(terminalSize.length);
    this.#options.seal(sent.message, sent.sequenceNumber, PayloadType.size, sent.sentAt);
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
