// Binary messages of the data channel, bytes ⇄ value (protocol.md section 3). One message is one websocket
// BINARY message; the reference calls it ClientMessage (plugin) or AgentMessage (agent). No I/O, no state.
// A peer may send anything: parseMessage returns a view or throws ProtocolError, nothing else.
import { hash } from 'node:crypto';
import { ProtocolError } from '../errors.ts';

/** MessageType values that reach or leave a client (protocol.md 3.4). */
export const MessageType = {
  inputStreamData: 'input_stream_data',
  outputStreamData: 'output_stream_data',
  acknowledge: 'acknowledge',
  channelClosed: 'channel_closed',
  startPublication: 'start_publication',
  pausePublication: 'pause_publication',
} as const;

/** PayloadType values (protocol.md 3.4); 0 on messages that are not stream data. */
export const PayloadType = {
  none: 0,
  output: 1,
  error: 2,
  size: 3,
  parameter: 4,
  handshakeRequest: 5,
  handshakeResponse: 6,
  handshakeComplete: 7,
  encChallengeRequest: 8,
  encChallengeResponse: 9,
  flag: 10,
  stdErr: 11,
  exitCode: 12,
} as const;

/** Payloads of PayloadType.flag: uint32 (protocol.md 3.4). */
export const Flag = { disconnectToPort: 1, terminateSession: 2, connectToPortError: 3 } as const;

/** Header Flags: bit 0 SYN, bit 1 FIN. Unsequenced messages carry both; stream data carries none. */
export const HeaderFlags = { data: 0, syn: 1, fin: 2, unsequenced: 3 } as const;

// uint32      HeaderLength        offset of PayloadLength: 116, or 112 in messages of the service (3.2)
// byte[32]    MessageType         padded with 0x20; the service pads with 0x00
// uint32      SchemaVersion       1
// uint64      CreatedDate         milliseconds since 1970
// int64       SequenceNumber
// uint64      Flags
// byte[16]    MessageId           low half of the UUID first
// byte[32]    PayloadDigest       SHA-256 of Payload
// uint32      PayloadType         absent where HeaderLength is 112
// uint32      PayloadLength
// byte[n]     Payload
const offset = {
  messageType: 4,
  schemaVersion: 36,
  createdDate: 40,
  sequenceNumber: 48,
  flags: 56,
  messageId: 64,
  payloadDigest: 80,
  payloadType: 112,
} as const;

const typeLength = 32;
const digestLength = 32;
/** HeaderLength with PayloadType, as clients and agents write it, and without, as the service does (3.2). */
export const headerLengthFull = 116;
export const headerLengthShort = 112;
/** Bytes before the payload of a message with the full header. */
export const overhead = headerLengthFull + 4;

/** A received message: a view of its bytes, which must not change while it is in use; `copy()` for longer. */
export class Message {
  readonly messageType: string;
  readonly headerLength: number;
  readonly payload: Buffer;
  readonly #bytes: Buffer;

  /** @internal Use parseMessage. */
  constructor(bytes: Buffer, headerLength: number, messageType: string) {
    this.#bytes = bytes;
    this.headerLength = headerLength;
    this.messageType = messageType;
    this.payload = bytes.subarray(headerLength + 4);
  }

  get schemaVersion(): number {
    return this.#bytes.readUInt32BE(offset.schemaVersion);
  }

  /** Milliseconds since 1970. */
  get createdDate(): number {
    return readUint64(this.#bytes, offset.createdDate);
  }

  get sequenceNumber(): number {
    return (
      this.#bytes.readInt32BE(offset.sequenceNumber) * 2 ** 32 + this.#bytes.readUInt32BE(offset.sequenceNumber + 4)
    );
  }

  get flags(): number {
    return readUint64(this.#bytes, offset.flags);
  }

  /** The UUID as text. On the wire its halves are swapped. */
  get messageId(): string {
    const hex = this.#bytes.toString('hex', offset.messageId, offset.messageId + 16);
    return `${hex.slice(16, 24)}-${hex.slice(24, 28)}-${hex.slice(28)}-${hex.slice(0, 4)}-${hex.slice(4, 16)}`;
  }

  /** Undefined where the header has none (HeaderLength 112). */
  get payloadType(): number | undefined {
    return this.headerLength === headerLengthFull ? this.#bytes.readUInt32BE(offset.payloadType) : undefined;
  }

  /** What the sender claims; the payload is what really came (3.3: neither reference compares them). */
  get payloadLengthField(): number {
    return this.#bytes.readUInt32BE(this.headerLength);
  }

  get payloadDigest(): Buffer {
    return this.#bytes.subarray(offset.payloadDigest, offset.payloadDigest + digestLength);
  }

  /**
   * Whether the payload is the one the sender hashed. Without a payload there is nothing to check (3.2), unless the sender
   * says that there was one: then the message was cut off.
   */
  digestMatches(): boolean {
    if (this.payload.length === 0 && this.payloadLengthField === 0) return true;
    // As text: a buffer for each digest costs more than the comparison.
    const { payloadDigest: at } = offset;
    return hash('sha256', this.payload, 'binary') === this.#bytes.toString('latin1', at, at + digestLength);
  }

  copy(): Message {
    return new Message(Buffer.from(this.#bytes), this.headerLength, this.messageType);
  }
}

/**
 * Reads one websocket message.
 * @throws ProtocolError `ssm-message` for anything that has not the layout of section 3.
 */
export function parseMessage(bytes: Uint8Array): Message {
  const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer.length < headerLengthShort + 4) throw malformed(`${buffer.length} bytes are too short`);
  const headerLength = buffer.readUInt32BE(0);
  if (headerLength !== headerLengthFull && headerLength !== headerLengthShort) {
    throw malformed(`HeaderLength is ${headerLength}`);
  }
  if (buffer.length < headerLength + 4) throw malformed(`${buffer.length} bytes are too short`);
  const messageType = readMessageType(buffer);
  if (messageType === '') throw malformed('MessageType is empty');
  const message = new Message(buffer, headerLength, messageType);
  // The two publication messages come with anything in the other fields (3.2).
  if (messageType === MessageType.startPublication || messageType === MessageType.pausePublication) return message;
  if (message.createdDate === 0) throw malformed('CreatedDate is 0');
  // In other messages the number means nothing (section 3): one that says the session is over must not fail on it.
  const isNumbered = messageType === MessageType.outputStreamData || messageType === MessageType.inputStreamData;
  if (isNumbered && !Number.isSafeInteger(message.sequenceNumber)) throw malformed('SequenceNumber is out of range');
  return message;
}

export interface MessageFields {
  messageType: string;
  /** Milliseconds since 1970, an integer, not 0. */
  createdDate: number;
  sequenceNumber: number;
  flags: number;
  /** UUID, hyphenated. */
  messageId: string;
  payloadType: number;
  payload: Uint8Array;
  /** 112 leaves PayloadType out, as the service does. */
  headerLength?: number;
}

/** Writes one message. An empty payload is written as it is; the references refuse to (protocol.md 3.3). */
export function serializeMessage(fields: MessageFields): Buffer {
  const headerLength = fields.headerLength ?? headerLengthFull;
  const message = Buffer.allocUnsafe(headerLength + 4 + fields.payload.length);
  message.set(fields.payload, headerLength + 4);
  return sealMessage(message, fields, headerLength);
}

/**
 * Room for a message that stays for a round trip, so not in Node's pool; the caller copies the payload to `overhead`, and
 * sealMessage then writes what stands before it.
 */
export function allocateMessage(payloadLength: number): Buffer {
  return Buffer.allocUnsafeSlow(overhead + payloadLength);
}

/** Writes the header around a payload that is already in place, and returns the same buffer. */
export function sealMessage(
  message: Buffer,
  fields: Omit<MessageFields, 'payload' | 'headerLength'>,
  headerLength: number = headerLengthFull,
): Buffer {
  const payload = message.subarray(headerLength + 4);
  message.writeUInt32BE(headerLength, 0);
  const typeEnd = offset.messageType + message.write(fields.messageType, offset.messageType, typeLength, 'latin1');
  message.fill(0x20, typeEnd, offset.messageType + typeLength);
  message.writeUInt32BE(1, offset.schemaVersion);
  writeUint64(message, fields.createdDate, offset.createdDate);
  writeUint64(message, fields.sequenceNumber, offset.sequenceNumber);
  writeUint64(message, fields.flags, offset.flags);
  const id = fields.messageId;
  message.write(id.slice(19, 23) + id.slice(24), offset.messageId, 'hex');
  message.write(id.slice(0, 8) + id.slice(9, 13) + id.slice(14, 18), offset.messageId + 8, 'hex');
  message.write(hash('sha256', payload, 'binary'), offset.payloadDigest, 'latin1');
  if (headerLength === headerLengthFull) message.writeUInt32BE(fields.payloadType, offset.payloadType);
  message.writeUInt32BE(payload.length, headerLength);
  return message;
}

/** Payload of `acknowledge` (protocol.md 4.2): which message arrived. Selective, one number each. */
export interface Acknowledge {
  messageType: string;
  messageId: string;
  sequenceNumber: number;
}

export function serializeAcknowledge(acknowledge: Acknowledge): Buffer {
  // Key order and absence of spaces as the references write them.
  return Buffer.from(
    `{"AcknowledgedMessageType":"${acknowledge.messageType}","AcknowledgedMessageId":"${acknowledge.messageId}"` +
      `,"AcknowledgedMessageSequenceNumber":${acknowledge.sequenceNumber},"IsSequentialMessage":true}`,
    'latin1',
  );
}

/** @throws ProtocolError `ssm-message` where it is not the JSON of 4.2. */
export function parseAcknowledge(payload: Uint8Array): Acknowledge {
  const value = parseJsonObject(payload, 'acknowledge');
  const sequenceNumber = value.AcknowledgedMessageSequenceNumber;
  if (!Number.isSafeInteger(sequenceNumber)) throw malformed('acknowledge has no sequence number');
  return {
    messageType: textOf(value.AcknowledgedMessageType),
    messageId: textOf(value.AcknowledgedMessageId),
    sequenceNumber: sequenceNumber as number,
  };
}

/** Reads a JSON object out of a payload. @throws ProtocolError `ssm-message` for anything else. */
export function parseJsonObject(payload: Uint8Array, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString('utf8'));
  } catch (cause) {
    throw malformed(`${what} is not JSON`, cause);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed(`${what} is not an object`);
  return value as Record<string, unknown>;
}

/** A text out of a peer's JSON; anything else reads as empty. (String() throws on `{"toString":1}`.) */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** As they stand in nearly every message, with their padding. */
const paddedTypes = new Map(Object.values(MessageType).map((type) => [type.padEnd(typeLength), type]));

function readMessageType(buffer: Buffer): string {
  const padded = buffer.toString('latin1', offset.messageType, offset.messageType + typeLength);
  return paddedTypes.get(padded) ?? trimmedType(buffer);
}

function trimmedType(buffer: Buffer): string {
  let start = offset.messageType;
  let end = offset.messageType + typeLength;
  const isPadding = (at: number) => buffer[at] === 0x20 || buffer[at] === 0x00;
  while (end > start && isPadding(end - 1)) end--;
  while (start < end && isPadding(start)) start++;
  return buffer.toString('latin1', start, end);
}

function readUint64(buffer: Buffer, at: number): number {
  return buffer.readUInt32BE(at) * 2 ** 32 + buffer.readUInt32BE(at + 4);
}

function writeUint64(buffer: Buffer, value: number, at: number): void {
  buffer.writeUInt32BE(Math.floor(value / 2 ** 32), at);
  buffer.writeUInt32BE(value % 2 ** 32, at + 4);
}

function malformed(why: string, cause?: unknown): ProtocolError {
  return new ProtocolError('ssm-message', `a message of the session is malformed: ${why}`, { side: 'remote', cause });
}
