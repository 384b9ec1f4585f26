// The messages that the service itself makes (protocol.md 3.2 and 4.5), written here from the layout of section 3 so
// that src/'s codec is not its own judge.
//
// uint32 HeaderLength, char[32] MessageType, uint32 SchemaVersion, uint64 CreatedDate, int64 SequenceNumber,
// uint64 Flags, byte[16] MessageId (low half first), byte[32] PayloadDigest, [uint32 PayloadType,]
// uint32 PayloadLength, payload
import { createHash, randomUUID } from 'node:crypto';

export interface ServiceMessage {
  messageType: 'start_publication' | 'pause_publication' | 'channel_closed';
  /** Milliseconds since 1970. */
  createdDate: number;
  messageId: string;
  payload: Buffer;
  /** 112: no PayloadType, and MessageType padded with NUL. */
  headerLength: 112 | 116;
}

export function serializeServiceMessage(message: ServiceMessage): Buffer {
  const { headerLength, payload } = message;
  const bytes = Buffer.alloc(headerLength + 4 + payload.length);
  bytes.writeUInt32BE(headerLength, 0);
  bytes.fill(headerLength === 112 ? 0x00 : 0x20, 4, 36);
  bytes.write(message.messageType, 4, 'ascii');
  bytes.writeUInt32BE(1, 36);
  bytes.writeBigUInt64BE(BigInt(message.createdDate), 40);
  bytes.writeBigUInt64BE(3n, 56);
  const id = Buffer.from(message.messageId.replaceAll('-', ''), 'hex');
  id.copy(bytes, 64, 8, 16);
  id.copy(bytes, 72, 0, 8);
  createHash('sha256').update(payload).digest().copy(bytes, 80);
  bytes.writeUInt32BE(payload.length, headerLength);
  payload.copy(bytes, headerLength + 4);
  return bytes;
}

/** start_publication or pause_publication; the real payload is not known (protocol.md section 14). */
export function publication(messageType: 'start_publication' | 'pause_publication', now: number): Buffer {
  return serializeServiceMessage({
    messageType,
    createdDate: now,
    messageId: randomUUID(),
    payload: Buffer.from('{"SchemaVersion":1}'),
    headerLength: 116,
  });
}

export function channelClosed(sessionId: string, output: string, now: number, headerLength: 112 | 116): Buffer {
  const messageId = randomUUID();
  const payload = {
    MessageId: messageId,
    CreatedDate: new Date(now).toISOString(),
    DestinationId: randomUUID(),
    SessionId: sessionId,
    MessageType: 'channel_closed',
    SchemaVersion: 1,
    Output: output,
  };
  return serializeServiceMessage({
    messageType: 'channel_closed',
    createdDate: now,
    messageId,
    payload: Buffer.from(JSON.stringify(payload)),
    headerLength,
  });
}
