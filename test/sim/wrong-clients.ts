// Clients with one fault each, the kind that real ones had (protocol.md section 12). A simulation that lets one of
// them pass proves nothing.
import type { ChannelEvent } from '../../src/ssm/channel.ts';
import {
  HeaderFlags,
  type Message,
  MessageType,
  PayloadType,
  parseAcknowledge,
  parseMessage,
  serializeMessage,
} from '../../src/ssm/message.ts';
import { makeClient } from './client.ts';
import type { Client, ClientOptions } from './world.ts';

/** The product's channel; its faulty children change what goes in or comes out. */
class Delegate implements Client {
  protected readonly inner: Client;
  protected readonly options: ClientOptions;
  constructor(options: ClientOptions) {
    this.options = options;
    this.inner = makeClient(options);
  }
  receive(bytes: Uint8Array, now: number): ChannelEvent[] {
    return this.inner.receive(bytes, now);
  }
  write(bytes: Uint8Array): void {
    this.inner.write(bytes);
  }
  terminate(): void {
    this.inner.terminate();
  }
  next(now: number): Buffer | undefined {
    return this.inner.next(now);
  }
  deadline(now: number): number | undefined {
    return this.inner.deadline(now);
  }
  reconnected(closeCode?: number): 'payload-refused' | undefined {
    return this.inner.reconnected(closeCode);
  }
  get backlogBytes(): number {
    return this.inner.backlogBytes;
  }
}

/** Trap 13: hands on what arrives as it arrives. */
export class DeliversInOrderOfArrival extends Delegate {
  #seen = new Set<number>();
  override receive(bytes: Uint8Array, now: number): ChannelEvent[] {
    const others = super.receive(bytes, now).filter((event) => event.type !== 'output');
    const message = read(bytes);
    if (message?.messageType !== MessageType.outputStreamData || message.payloadType !== PayloadType.output)
      return others;
    if (!message.digestMatches() || this.#seen.has(message.sequenceNumber)) return others;
    this.#seen.add(message.sequenceNumber);
    return [...others, { type: 'output', bytes: message.payload }];
  }
}

/** Hands on a message again when it comes again. */
export class DeliversDuplicates extends Delegate {
  #last: Uint8Array | undefined;
  override receive(bytes: Uint8Array, now: number): ChannelEvent[] {
    const events = super.receive(bytes, now);
    const message = read(bytes);
    const again = this.#last !== undefined && Buffer.compare(this.#last, bytes) === 0;
    if (message?.payloadType === PayloadType.output && message.messageType === MessageType.outputStreamData) {
      this.#last = bytes;
      if (again) events.push({ type: 'output', bytes: message.payload });
    }
    return events;
  }
}

/** Trap 10, the reference's own: acknowledges each message once. */
export class NeverAcknowledgesTwice extends Delegate {
  #acknowledged = new Set<number>();
  override next(now: number): Buffer | undefined {
    for (let message = super.next(now); message !== undefined; message = super.next(now)) {
      const { messageType, payload } = parseMessage(message);
      if (messageType !== MessageType.acknowledge) return message;
      const { sequenceNumber } = parseAcknowledge(payload);
      if (this.#acknowledged.has(sequenceNumber)) continue;
      this.#acknowledged.add(sequenceNumber);
      return message;
    }
    return undefined;
  }
}

/** Acknowledges output that it then loses. */
export class LosesOutput extends Delegate {
  #count = 0;
  override receive(bytes: Uint8Array, now: number): ChannelEvent[] {
    return super.receive(bytes, now).filter((event) => event.type !== 'output' || ++this.#count % 10 !== 0);
  }
}

/** Sends each message once. */
export class NeverResends extends Delegate {
  #sent = new Set<number>();
  override next(now: number): Buffer | undefined {
    for (let message = super.next(now); message !== undefined; message = super.next(now)) {
      const { messageType, sequenceNumber } = parseMessage(message);
      if (messageType !== MessageType.inputStreamData) return message;
      if (this.#sent.has(sequenceNumber)) continue;
      this.#sent.add(sequenceNumber);
      return message;
    }
    return undefined;
  }
}

/** Trap 17: does not wait for HandshakeComplete. */
export class SpeaksTooEarly extends Delegate {
  #spoken = false;
  override next(now: number): Buffer | undefined {
    if (this.#spoken) return super.next(now);
    this.#spoken = true;
    return serializeMessage({
      messageType: MessageType.inputStreamData,
      createdDate: this.options.epoch,
      sequenceNumber: 0,
      flags: HeaderFlags.data,
      messageId: this.options.uuid(),
      payloadType: PayloadType.output,
      payload: Buffer.from('SSH-2.0-early\r\n'),
    });
  }
}

/** Believes every digest. */
export class NeverChecksDigests extends Delegate {
  override receive(bytes: Uint8Array, now: number): ChannelEvent[] {
    const message = read(bytes);
    if (message === undefined || message.digestMatches()) return super.receive(bytes, now);
    const { messageType, createdDate, sequenceNumber, flags, messageId, payloadType = 0, payload } = message;
    const believed = { messageType, createdDate, sequenceNumber, flags, messageId, payloadType, payload };
    return super.receive(serializeMessage(believed), now);
  }
}

/** Ends without saying that something is missing. */
export class HidesLoss extends Delegate {
  override receive(bytes: Uint8Array, now: number): ChannelEvent[] {
    const events = super.receive(bytes, now);
    return events.map((event) => (event.type === 'closed' ? { ...event, missing: false } : event));
  }
}

/** Takes the loss of its socket for the end. */
export class FallsSilentOnReconnect extends Delegate {
  #lost = false;
  override next(now: number): Buffer | undefined {
    return this.#lost ? undefined : super.next(now);
  }
  override deadline(now: number): number | undefined {
    return this.#lost ? undefined : super.deadline(now);
  }
  override reconnected(): 'payload-refused' | undefined {
    this.#lost = true;
    return undefined;
  }
}

function read(bytes: Uint8Array): Message | undefined {
  try {
    return parseMessage(bytes);
  } catch {
    return undefined;
  }
}
