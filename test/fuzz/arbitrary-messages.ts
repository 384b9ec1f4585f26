// Messages as a hostile or broken peer might write them: random bytes, and well-formed ones with something wrong.
import fc from 'fast-check';
import {
  type MessageFields,
  MessageType,
  overhead,
  PayloadType,
  serializeAcknowledge,
  serializeMessage,
} from '../../src/ssm/message.ts';

const sequenceNumber = fc.oneof(
  fc.nat({ max: 8 }),
  fc.nat({ max: 20_000 }),
  fc.constantFrom(2 ** 31, 2 ** 32, Number.MAX_SAFE_INTEGER),
);

const json = fc.oneof(
  fc.json(),
  fc.constantFrom(
    '{"AgentVersion":"3.3.1142.0","RequestedClientActions":[{"ActionType":"SessionType","ActionParameters":{"SessionType":"Port","Properties":{}}}]}',
    '{"ClientVersion":"1.2.896.0","ProcessedClientActions":[{"ActionType":"SessionType","ActionStatus":1}]}',
    '{"HandshakeTimeToComplete":1,"CustomerMessage":""}',
    '{"RequestedClientActions":[null,1,{"ActionType":{"a":1}}]}',
    '{"MessageType":"channel_closed","Output":{"not":"text"}}',
  ),
);

export const anyPayload: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.uint8Array({ maxLength: 64 }),
  json.map((text) => Buffer.from(text)),
  fc
    .integer({ min: -2, max: 20_000 })
    .map((number) =>
      serializeAcknowledge({ messageType: MessageType.inputStreamData, messageId: '', sequenceNumber: number }),
    ),
);

/** Fields that serializeMessage can write; the types are those a client meets, and others. */
export const messageFields: fc.Arbitrary<MessageFields> = fc.record({
  messageType: fc.oneof(
    fc.constantFrom(...Object.values(MessageType)),
    fc.stringMatching(/^[a-z_]{1,32}$/, { maxLength: 32 }),
  ),
  createdDate: fc.oneof(fc.constant(1_700_000_000_000), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })),
  sequenceNumber,
  flags: fc.nat({ max: 3 }),
  messageId: fc.uuid(),
  payloadType: fc.oneof(fc.constantFrom(...Object.values(PayloadType)), fc.nat()),
  payload: anyPayload,
  headerLength: fc.constantFrom(116, 116, 116, 112),
});

/** A message, sometimes cut off, lengthened or with bytes changed. */
export const brokenMessage: fc.Arbitrary<Buffer> = fc
  .tuple(
    messageFields.map(serializeMessage),
    fc.array(fc.tuple(fc.nat({ max: overhead + 16 }), fc.nat({ max: 255 })), { maxLength: 4 }),
    fc.option(fc.nat({ max: overhead + 64 }), { freq: 4 }),
    fc.uint8Array({ maxLength: 8 }),
  )
  .map(([message, changes, length, trailing]) => {
    const bytes = Buffer.concat([message.subarray(0, length ?? undefined), trailing]);
    for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
    return bytes;
  });

export const anyBytes: fc.Arbitrary<Buffer> = fc.oneof(
  fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
  messageFields.map(serializeMessage),
  brokenMessage,
);
