// The message codec against any bytes (protocol.md section 3).
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { ProtocolError } from '../../src/errors.ts';
import {
  type Message,
  MessageType,
  parseAcknowledge,
  parseJsonObject,
  parseMessage,
  serializeAcknowledge,
  serializeMessage,
} from '../../src/ssm/message.ts';
import { anyBytes, messageFields } from './arbitrary-messages.ts';
import { runs } from './runs.ts';

/** What `parse` gives, or undefined where it throws the one thing it may throw. */
function attempt<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof ProtocolError && error.code === 'ssm-message' && error.side === 'remote') return undefined;
    throw error;
  }
}

function fieldsOf({ messageType, createdDate, sequenceNumber, flags, messageId, payloadType, payload }: Message) {
  return { messageType, createdDate, sequenceNumber, flags, messageId, payloadType, payload };
}

t.test('any bytes are a message or a ProtocolError, and a message can be read whole', async () => {
  const property = fc.property(anyBytes, (bytes) => {
    const before = Buffer.from(bytes);
    const message = attempt(() => parseMessage(bytes));
    if (message !== undefined) {
      fieldsOf(message);
      void [message.schemaVersion, message.payloadLengthField, message.payloadDigest, message.digestMatches()];
      if (message.payload.length !== bytes.length - message.headerLength - 4) throw new Error('payload length');
    }
    return before.equals(bytes);
  });
  fc.assert(property, runs(5000));
});

t.test('what was written is read', async () => {
  const property = fc.property(messageFields, (fields) => {
    const bytes = serializeMessage(fields);
    const message = parseMessage(bytes);
    const { headerLength, ...rest } = fields;
    const payloadType = headerLength === 112 ? undefined : fields.payloadType;
    const same = isDeepStrictEqual(fieldsOf(message), { ...rest, payloadType, payload: Buffer.from(fields.payload) });
    return same && message.headerLength === headerLength && message.digestMatches() && message.schemaVersion === 1;
  });
  fc.assert(property, runs(1000));
});

t.test('a message type means the same whatever pads it, and on whichever side', async () => {
  const padding = fc.constantFrom(0x00, 0x20);
  const property = fc.property(messageFields, padding, fc.boolean(), (fields, pad, left) => {
    const bytes = serializeMessage(fields);
    const at = left ? 36 - fields.messageType.length : 4;
    bytes.fill(pad, 4, 36).write(fields.messageType, at, 'latin1');
    return parseMessage(bytes).messageType === fields.messageType;
  });
  fc.assert(property, runs(1000));
});

t.test('one changed byte of the payload is noticed', async () => {
  const withPayload = messageFields.filter(({ payload }) => payload.length > 0);
  const property = fc.property(withPayload, fc.nat(), fc.integer({ min: 1, max: 255 }), (fields, position, change) => {
    const bytes = serializeMessage(fields);
    const at = bytes.length - 1 - (position % fields.payload.length);
    bytes[at] = bytes[at]! ^ change;
    return !parseMessage(bytes).digestMatches();
  });
  fc.assert(property, runs(1000));
});

t.test('any payload is an acknowledgement or a ProtocolError', async () => {
  const property = fc.property(anyBytes, (bytes) => {
    const acknowledge = attempt(() => parseAcknowledge(bytes));
    return acknowledge === undefined || Number.isSafeInteger(acknowledge.sequenceNumber);
  });
  fc.assert(property, runs(2000));
  const texts = fc.property(fc.json(), (text) => {
    const object = attempt(() => parseJsonObject(Buffer.from(text), 'test'));
    attempt(() => parseAcknowledge(Buffer.from(text)));
    return object === undefined || text.trimStart().startsWith('{');
  });
  fc.assert(texts, runs(2000));
});

t.test('an acknowledgement that was written is read', async () => {
  const property = fc.property(fc.uuid(), fc.nat(), (messageId, sequenceNumber) => {
    const acknowledge = { messageType: MessageType.outputStreamData, messageId, sequenceNumber };
    return isDeepStrictEqual(parseAcknowledge(serializeAcknowledge(acknowledge)), acknowledge);
  });
  fc.assert(property, runs(200));
});
