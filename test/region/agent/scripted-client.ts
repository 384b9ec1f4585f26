// A client for tests of the agent: acknowledges what it gets, answers the handshake, and sends exactly what
// the test says, right or wrong. It has no resends and no window; the product's channel is not involved.
import { randomUUID } from 'node:crypto';
import {
  HeaderFlags,
  type Message,
  MessageType,
  PayloadType,
  parseMessage,
  serializeAcknowledge,
  serializeMessage,
} from '../../../src/ssm/message.ts';

export function streamData(sequenceNumber: number, payloadType: number, payload: Uint8Array | string): Buffer {
  return serializeMessage({
    messageType: MessageType.inputStreamData,
    createdDate: 1,
    sequenceNumber,
    flags: HeaderFlags.data,
    messageId: randomUUID(),
    payloadType,
    payload: Buffer.from(payload),
  });
}

export function acknowledgeOf(sequenceNumber: number): Buffer {
  return serializeMessage({
    messageType: MessageType.acknowledge,
    createdDate: 1,
    sequenceNumber: 0,
    flags: HeaderFlags.unsequenced,
    messageId: randomUUID(),
    payloadType: PayloadType.none,
    payload: serializeAcknowledge({
      messageType: MessageType.outputStreamData,
      messageId: randomUUID(),
      sequenceNumber,
    }),
  });
}

/** start_publication and pause_publication, which the gateway makes. */
export function publication(messageType: string): Buffer {
  return serializeMessage({
    messageType,
    createdDate: 1,
    sequenceNumber: 0,
    flags: HeaderFlags.unsequenced,
    messageId: randomUUID(),
    payloadType: PayloadType.none,
    payload: new Uint8Array(),
  });
}

export function handshakeResponse(sequenceNumber: number, actionStatus = 1): Buffer {
  const action = { ActionType: 'SessionType', ActionStatus: actionStatus, ActionResult: null, Error: '' };
  const payload = { ClientVersion: '1.2.896.0', ProcessedClientActions: [action], Errors: null };
  return streamData(sequenceNumber, PayloadType.handshakeResponse, JSON.stringify(payload));
}

/** What the client sees of an agent's leg (agent.ts). */
interface Leg {
  send(message: Buffer): boolean;
  onMessage: (message: Buffer) => void;
  onEnd: (end: { output: string }) => void;
}

export class ScriptedClient {
  /** Stream data of the agent in order of arrival, duplicates left out, with its arrival (performance.now). */
  readonly received: { message: Message; at: number }[] = [];
  /** Sequence numbers the agent acknowledged, in order of arrival. */
  readonly acknowledged: number[] = [];
  readonly ended: Promise<{ output: string }>;
  nextSequenceNumber = 1;
  #expected = 0;
  #waiting: { condition: () => boolean; resolve: () => void }[] = [];
  readonly #leg: Leg;

  constructor(leg: Leg) {
    this.#leg = leg;
    leg.onMessage = (bytes) => this.#receive(bytes);
    this.ended = new Promise((resolve) => {
      leg.onEnd = resolve;
    });
  }

  /** Resolves once HandshakeComplete has come. */
  handshake(): Promise<void> {
    return this.until(() => this.received.some(({ message }) => message.payloadType === PayloadType.handshakeComplete));
  }

  sendOutput(payload: Uint8Array | string): boolean {
    return this.#leg.send(streamData(this.nextSequenceNumber++, PayloadType.output, payload));
  }

  sendFlag(flag: number): boolean {
    const payload = Buffer.alloc(4);
    payload.writeUInt32BE(flag);
    return this.#leg.send(streamData(this.nextSequenceNumber++, PayloadType.flag, payload));
  }

  /** All bytes of the port so far. */
  output(): Buffer {
    const output = this.received.filter(({ message }) => message.payloadType === PayloadType.output);
    return Buffer.concat(output.map(({ message }) => message.payload));
  }

  /** Resolves once `condition` holds, looked at after every message. */
  until(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ condition, resolve }));
  }

  #receive(bytes: Buffer): void {
    const message = parseMessage(bytes);
    if (message.messageType === MessageType.acknowledge) {
      const acknowledge = JSON.parse(message.payload.toString());
      this.acknowledged.push(acknowledge.AcknowledgedMessageSequenceNumber);
    } else {
      this.#leg.send(acknowledgeOf(message.sequenceNumber));
      if (message.sequenceNumber === this.#expected) {
        this.#expected++;
        this.received.push({ message, at: performance.now() });
        if (message.payloadType === PayloadType.handshakeRequest) this.#leg.send(handshakeResponse(0));
      }
    }
    const ready = this.#waiting.filter(({ condition }) => condition());
    this.#waiting = this.#waiting.filter((entry) => !ready.includes(entry));
    for (const { resolve } of ready) resolve();
  }
}
