// Numbered messages, from the oldest that is not acknowledged to the newest, and which of them go again when
// (protocol.md 4.4). Pure.
//
// A message is taken for lost by evidence: messages sent after it have been acknowledged (as RACK does, RFC 8985; there is
// one acknowledgement for each message). Or by silence: nothing has been acknowledged for a whole timeout. Then the oldest
// goes, it alone, and the timeout doubles (RFC 6298): a path that has only become slow is not given more to carry.
import { overhead } from './message.ts';
import { RoundTrip } from './round-trip.ts';

export interface Sent {
  readonly sequenceNumber: number;
  /** As on the wire. */
  message: Buffer;
  payloadLength: number;
  firstSentAt: number;
  /** Time of the last transmission. */
  sentAt: number;
  transmissions: number;
  /** Of the last one among all transmissions. */
  order: number;
  /** It went last because its time was over. */
  timedOut: boolean;
  acknowledged: boolean;
  /** What the window knew when it was sent (send-window.ts). */
  deliveredBefore: number;
}

/** A message is taken for lost when one sent so many later has been acknowledged (as TCP's three duplicates). */
const reorderTolerance = 3;
const never = Number.POSITIVE_INFINITY;

export class InFlight {
  readonly roundTrip = new RoundTrip();
  /** Index = number − #base. Acknowledged ones stay until the gap before them is closed, as they do at the agent. */
  #messages: Sent[] = [];
  #base = 0;
  /** Not acknowledged, in order of their last transmission. */
  readonly #travelling = new Set<Sent>();
  #payloadBytes = 0;
  #travellingBytes = 0;
  #order = 0;
  #highestAcknowledged = -never;
  /** Up to this one, transmissions that are not acknowledged need no further evidence. */
  #lostUpTo = 0;
  /** When something new was acknowledged last. */
  #progressedAt = -never;
  /** After a timeout: unless the first transmission of another message is acknowledged by then, all older ones are lost. */
  #doubt: { until: number; order: number } | undefined;
  /** After a reconnect: what is to be sent again, oldest first. */
  #again: Sent[] = [];

  /** The number that the next message gets. */
  get nextNumber(): number {
    return this.#base + this.#messages.length;
  }

  /** The oldest that is not acknowledged. */
  get firstNumber(): number {
    return this.#base;
  }

  get count(): number {
    return this.#messages.length;
  }

  /** Payload bytes from the oldest unacknowledged message to the newest. */
  get payloadBytes(): number {
    return this.#payloadBytes;
  }

  /** Bytes of messages that are not acknowledged. */
  get travellingBytes(): number {
    return this.#travellingBytes;
  }

  add(message: Buffer): Sent {
    const sent: Sent = {
      sequenceNumber: this.nextNumber,
      message,
      payloadLength: message.length - overhead,
      firstSentAt: 0,
      sentAt: 0,
      transmissions: 0,
      order: 0,
      timedOut: false,
      acknowledged: false,
      deliveredBefore: 0,
    };
    this.#messages.push(sent);
    this.#payloadBytes += sent.payloadLength;
    this.#travellingBytes += message.length;
    return sent;
  }

  /** Gives a number another message. */
  replace(sent: Sent, message: Buffer): void {
    this.#payloadBytes += message.length - sent.message.length;
    this.#travellingBytes += message.length - sent.message.length;
    sent.message = message;
    sent.payloadLength = message.length - overhead;
  }

  /** It goes on the wire now. */
  transmit(sent: Sent, delivered: number, now: number): void {
    if (sent.transmissions === 0) sent.firstSentAt = now;
    sent.sentAt = now;
    sent.transmissions += 1;
    sent.order = ++this.#order;
    sent.deliveredBefore = delivered;
    this.#travelling.delete(sent);
    this.#travelling.add(sent);
  }

  /** Returns the message; undefined where the number is none of ours or known already. */
  acknowledge(sequenceNumber: number, now: number): Sent | undefined {
    const sent = this.#messages[sequenceNumber - this.#base];
    if (sent === undefined || sent.acknowledged) return undefined;
    sent.acknowledged = true;
    this.#travelling.delete(sent);
    this.#travellingBytes -= sent.message.length;
    this.#progressedAt = now;
    if (sent.transmissions === 1) {
      this.roundTrip.sample(now - sent.sentAt);
      this.#highestAcknowledged = Math.max(this.#highestAcknowledged, sent.order);
      this.#doubt = undefined;
    } else {
      // Which of its transmissions arrived, nobody can know (Karn).
      this.roundTrip.acknowledgedAfter(now - sent.firstSentAt);
      if (sent.timedOut) this.#doubt = { until: now + this.roundTrip.reorderWait, order: sent.order };
    }
    while (this.#messages[0]?.acknowledged) {
      this.#payloadBytes -= this.#messages.shift()!.payloadLength;
      this.#base += 1;
    }
    return sent;
  }

  /** What was sent before and is not acknowledged in good time is lost. */
  presumeLost(): void {
    this.#lostUpTo = this.#order;
  }

  /** A new socket: everything unacknowledged goes again. */
  reconnected(): void {
    this.roundTrip.reconnected();
    this.#doubt = undefined;
    this.#again = this.#messages.filter((sent) => !sent.acknowledged);
  }

  /** What is to be sent again now. */
  due(now: number): Sent | undefined {
    if (this.#firstAgain() !== undefined) return this.#again.shift();
    if (this.#doubt !== undefined && this.#doubt.until <= now) {
      this.#lostUpTo = Math.max(this.#lostUpTo, this.#doubt.order - 1);
      this.#doubt = undefined;
    }
    const lost = this.#oldestTransmission;
    const oldest = this.#messages[0];
    const isLost = lost !== undefined && this.#evidentAt(lost) <= now;
    const isOverdue = !isLost && oldest !== undefined && this.#overdueAt(oldest) <= now;
    if (isOverdue) this.roundTrip.timedOut();
    const sent = isLost ? lost : isOverdue ? oldest : undefined;
    if (sent !== undefined) sent.timedOut = isOverdue;
    return sent;
  }

  /** When something will be due, if nothing is acknowledged until then; 0 for now. */
  dueAt(): number {
    if (this.#firstAgain() !== undefined) return 0;
    const oldest = this.#messages[0];
    const transmission = this.#oldestTransmission;
    if (oldest === undefined || transmission === undefined) return never;
    const doubted = this.#doubt !== undefined && transmission.order < this.#doubt.order ? this.#doubt.until : never;
    return Math.min(this.#evidentAt(transmission), this.#overdueAt(oldest), doubted);
  }

  get #oldestTransmission(): Sent | undefined {
    return this.#travelling.values().next().value;
  }

  /** Once the reordering is over. */
  #evidentAt({ order, sentAt }: Sent): number {
    const isOvertaken = order + reorderTolerance <= this.#highestAcknowledged || order <= this.#lostUpTo;
    return isOvertaken ? sentAt + this.roundTrip.reorderWait : never;
  }

  #overdueAt({ sentAt }: Sent): number {
    return Math.max(sentAt, this.#progressedAt) + this.roundTrip.timeout;
  }

  #firstAgain(): Sent | undefined {
    while (this.#again[0]?.acknowledged) this.#again.shift();
    return this.#again[0];
  }
}
