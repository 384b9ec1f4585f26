// The sending half of the reliability layer (protocol.md 4.1, 4.4): bytes to numbered messages, kept until they are
// acknowledged. Pure: next(now) gives the message to put on the wire, deadline(now) says when to ask again.
//
// Laws: a number is given once and its message is resent with the same bytes (the one exception is below);
// nothing is ever evicted, a full window blocks the producer; data keeps its order.
//
// Payload size. 1,024 bytes is what the reference sends and all that AWS is known to accept; the agent takes far more
// (protocol.md section 16, row 2). The first time a full `maxPayloadBytes` waits, one such message goes out as a
// probe, and nothing behind it until it is acknowledged: from then on payloads may have that size. If the gateway
// cuts the socket over it, the probe is cut into pieces of 1,024 bytes under its own number and those that follow.
// That is safe because the probe can't have reached the agent: it was refused by close code 1009, or the socket was
// lost twice, each time with the probe sent and unacknowledged.
import { allocateMessage, overhead, PayloadType } from './message.ts';
import type { Pace } from './pace.ts';
import { RoundTrip } from './round-trip.ts';

/** What the reference sends at most per message (protocol.md 4.4, StreamDataPayloadSize). */
export const referencePayloadBytes = 1024;

/** A message is taken for lost when one sent this many numbers later has been acknowledged (as TCP's three duplicates). */
const reorderTolerance = 3;
/** RFC 6455 7.4.1: message too big. */
const closedTooBig = 1009;

export interface OutgoingOptions {
  /** Payload bytes per message at most; 1,024 or less sends no probe. */
  maxPayloadBytes: number;
  /** Messages sent and not acknowledged, at most. */
  windowMessages: number;
  /** Payload bytes sent and not acknowledged, at most. */
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
  | { state: 'pending'; sent: Sent; seenTransmissions: number; cuts: number };

export class Outgoing {
  readonly roundTrip = new RoundTrip();
  readonly #options: OutgoingOptions;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  /** Sent and not acknowledged, oldest first, with acknowledged ones in between: index = number − #base. */
  #sent: Sent[] = [];
  #base = 0;
  #unacknowledged = 0;
  #unacknowledgedBytes = 0;
  #highestAcknowledged = -1;
  /** Up to this number, no later acknowledgement is needed to take a message for lost. */
  #provenLost = -1;
  /** After a reconnect: what is to be sent again, oldest first. */
  #again: Sent[] = [];
  #probe: Probe;
  #dataAllowed = false;

  constructor(options: OutgoingOptions) {
    this.#options = options;
    this.#probe = { state: options.maxPayloadBytes > referencePayloadBytes ? 'untried' : 'refused' };
  }

  /** Payload bytes taken and not yet numbered: what a producer looks at to wait. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Payload bytes sent and not yet acknowledged. */
  get unacknowledgedBytes(): number {
    return this.#unacknowledgedBytes;
  }

  /** True when everything taken has been acknowledged. */
  get drained(): boolean {
    return this.#waiting.length === 0 && this.#unacknowledged === 0;
  }

  /** Takes bytes to send. They must not change until they are numbered. */
  write(bytes: Uint8Array, payloadType: number): void {
    if (bytes.length === 0) return; // neither reference can send an empty payload (3.3)
    this.#waiting.push({ payloadType, bytes });
    this.#waitingBytes += bytes.length;
  }

  /** The handshake is complete: data may go. Before that the agent would acknowledge it and throw it away (4.3). */
  allowData(): void {
    this.#dataAllowed = true;
  }

  /** The next message for the wire: what is to be sent again first, then what is new; undefined if nothing may go now. */
  next(now: number): Buffer | undefined {
    if (this.#options.pace.readyAt(now) > now) return undefined;
    const sent = this.#due(now) ?? (this.#mayCut() ? this.#cut(now) : undefined);
    if (sent === undefined) return undefined;
    this.#options.pace.take(now);
    sent.sentAt = now;
    sent.transmissions += 1;
    return sent.message;
  }

  /** When next() may have something, if nothing else happens; undefined if never. */
  deadline(now: number): number | undefined {
    const resend = this.#resendAt();
    const ready = this.#again.length > 0 || this.#mayCut() ? now : resend;
    if (ready === undefined) return undefined;
    return Math.max(ready, this.#options.pace.readyAt(now));
  }

  /** The agent has the message of this number. Returns false where it is none of ours or known already. */
  acknowledge(sequenceNumber: number, now: number): boolean {
    const sent = this.#sent[sequenceNumber - this.#base];
    if (sent === undefined || sent.acknowledged) return false;
    sent.acknowledged = true;
    if (sent.transmissions === 1) this.roundTrip.sample(now - sent.sentAt);
    this.roundTrip.progressed();
    this.#unacknowledged -= 1;
    this.#unacknowledgedBytes -= sent.payloadLength;
    this.#highestAcknowledged = Math.max(this.#highestAcknowledged, sequenceNumber);
    if (this.#probe.state === 'pending' && this.#probe.sent === sent) this.#probe = { state: 'passed' };
    while (this.#sent[0]?.acknowledged) {
      this.#sent.shift();
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
    this.roundTrip.progressed();
    const refused = this.#probeRefused(closeCode);
    this.#again = this.#sent.filter((sent) => !sent.acknowledged);
    return refused ? 'payload-refused' : undefined;
  }

  /** What is to be sent again now. */
  #due(now: number): Sent | undefined {
    while (this.#again[0]?.acknowledged) this.#again.shift();
    if (this.#again.length > 0) return this.#again.shift();
    const oldest = this.#sent[0];
    if (oldest === undefined) return undefined;
    const lost = this.#overtaken(now);
    if (lost !== undefined) return lost;
    if (now - oldest.sentAt < this.roundTrip.timeout) return undefined;
    this.roundTrip.timedOut();
    return oldest;
  }

  /** A message that later ones overtook, long enough ago to be lost and not late. */
  #overtaken(now: number): Sent | undefined {
    for (const sent of this.#sent) {
      if (!this.#isOvertaken(sent)) return undefined;
      if (!sent.acknowledged && now - sent.sentAt >= this.#overtakenWait(sent)) return sent;
    }
    return undefined;
  }

  #isOvertaken({ sequenceNumber }: Sent): boolean {
    return sequenceNumber + reorderTolerance <= this.#highestAcknowledged || sequenceNumber <= this.#provenLost;
  }

  #overtakenWait(sent: Sent): number {
    return sent.transmissions === 1 ? this.roundTrip.reorderWait : this.roundTrip.timeout;
  }

  #resendAt(): number | undefined {
    const oldest = this.#sent[0];
    if (oldest === undefined) return undefined;
    let at = oldest.sentAt + this.roundTrip.timeout;
    for (const sent of this.#sent) {
      if (!this.#isOvertaken(sent)) break;
      if (!sent.acknowledged) at = Math.min(at, sent.sentAt + this.#overtakenWait(sent));
    }
    return at;
  }

  #mayCut(): boolean {
    const first = this.#waiting[0];
    if (first === undefined) return false;
    if (!this.#dataAllowed) return first.payloadType === PayloadType.handshakeResponse;
    return (
      this.#probe.state !== 'pending' &&
      this.#unacknowledged < this.#options.windowMessages &&
      this.#unacknowledgedBytes < this.#options.windowBytes
    );
  }

  /** Numbers the next message. */
  #cut(now: number): Sent {
    const payloadType = this.#waiting[0]!.payloadType;
    const available = payloadType === PayloadType.output ? this.#outputAvailable() : this.#waiting[0]!.bytes.length;
    const length = payloadType === PayloadType.output ? this.#payloadLength(available) : available;
    const message = allocateMessage(length);
    this.#takeInto(message.subarray(overhead));
    const sequenceNumber = this.#base + this.#sent.length;
    this.#options.seal(message, sequenceNumber, payloadType, now);
    const sent: Sent = {
      sequenceNumber,
      message,
      payloadLength: length,
      sentAt: now,
      transmissions: 0,
      acknowledged: false,
    };
    this.#sent.push(sent);
    this.#unacknowledged += 1;
    this.#unacknowledgedBytes += length;
    if (length > referencePayloadBytes && payloadType === PayloadType.output && this.#probe.state === 'untried') {
      this.#probe = { state: 'pending', sent, seenTransmissions: 0, cuts: 0 };
    }
    return sent;
  }

  /** Bytes of output that wait in front of the next message of another type. */
  #outputAvailable(): number {
    let bytes = 0;
    for (const waiting of this.#waiting) {
      if (waiting.payloadType !== PayloadType.output) break;
      bytes += waiting.bytes.length;
      if (bytes >= this.#options.maxPayloadBytes) break;
    }
    return bytes;
  }

  #payloadLength(available: number): number {
    const max = this.#options.maxPayloadBytes;
    if (this.#probe.state === 'passed' || (this.#probe.state === 'untried' && available >= max)) {
      return Math.min(available, max);
    }
    return Math.min(available, max, referencePayloadBytes);
  }

  /** Moves waiting bytes to a message's payload. */
  #takeInto(payload: Buffer): void {
    let filled = 0;
    while (filled < payload.length) {
      const first = this.#waiting[0]!;
      const part = first.bytes.subarray(0, payload.length - filled);
      payload.set(part, filled);
      filled += part.length;
      if (part.length === first.bytes.length) this.#waiting.shift();
      else first.bytes = first.bytes.subarray(part.length);
    }
    this.#waitingBytes -= payload.length;
  }

  #probeRefused(closeCode: number | undefined): boolean {
    const probe = this.#probe;
    if (probe.state !== 'pending') return false;
    // A socket lost before the probe went out on it says nothing.
    if (probe.sent.transmissions > probe.seenTransmissions) probe.cuts += 1;
    else return false;
    probe.seenTransmissions = probe.sent.transmissions;
    if (closeCode !== closedTooBig && probe.cuts < 2) return false;
    const { sent } = probe;
    const payload = sent.message.subarray(overhead);
    const rest = payload.subarray(referencePayloadBytes);
    this.#waiting.unshift({ payloadType: PayloadType.output, bytes: rest });
    this.#waitingBytes += rest.length;
    this.#unacknowledgedBytes -= rest.length;
    sent.message = allocateMessage(referencePayloadBytes);
    sent.message.set(payload.subarray(0, referencePayloadBytes), overhead);
    sent.payloadLength = referencePayloadBytes;
    this.#options.seal(sent.message, sent.sequenceNumber, PayloadType.output, sent.sentAt);
    this.#probe = { state: 'refused' };
    return true;
  }
}
