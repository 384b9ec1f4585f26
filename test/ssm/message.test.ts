import { readFileSync } from 'node:fs';
import t from 'tap';
import { ProtocolError } from '../../src/errors.ts';
import {
  HeaderFlags,
  type Message,
  MessageType,
  PayloadType,
  parseAcknowledge,
  parseJsonObject,
  parseMessage,
  serializeAcknowledge,
  serializeMessage,
} from '../../src/ssm/message.ts';

interface Vector {
  name: string;
  direction: string;
  producedBy: string;
  hex: string;
  digestMatches: boolean;
  fields: {
    createdDate: number;
    flags: number;
    headerLength: number;
    messageId: string;
    messageType: string;
    payloadDigestHex: string;
    payloadHex: string;
    payloadLength: number;
    payloadType?: number;
    schemaVersion: number;
    sequenceNumber: number;
    totalLength: number;
  };
}

const golden = JSON.parse(readFileSync(new URL('../vectors/golden-messages.json', import.meta.url), 'utf8'));
const vectors: Vector[] = golden.vectors;
const publication: string[] = [MessageType.startPublication, MessageType.pausePublication];

function vector(name: string): Buffer {
  return Buffer.from(vectors.find((candidate) => candidate.name === name)!.hex, 'hex');
}

const refused = { name: 'ProtocolError', code: 'ssm-message', side: 'remote' };

/** What parseMessage makes of bytes: a message, or its one way to refuse. Anything else thrown fails the test. */
function parseOrRefuse(bytes: Uint8Array): Message | 'refused' {
  try {
    return parseMessage(bytes);
  } catch (error) {
    if (error instanceof ProtocolError && error.code === 'ssm-message') return 'refused';
    throw error;
  }
}

t.test('every vector is read as the reference means it', async (t) => {
  t.ok(vectors.length >= 37);
  for (const { name, hex, fields, digestMatches } of vectors) {
    const message = parseMessage(Buffer.from(hex, 'hex'));
    t.strictSame(
      {
        createdDate: message.createdDate,
        flags: message.flags,
        headerLength: message.headerLength,
        messageId: message.messageId,
        messageType: message.messageType,
        payloadDigestHex: message.payloadDigest.toString('hex'),
        payloadHex: message.payload.toString('hex'),
        payloadLength: message.payloadLengthField,
        payloadType: message.payloadType,
        schemaVersion: message.schemaVersion,
        sequenceNumber: message.sequenceNumber,
      },
      {
        createdDate: fields.createdDate,
        flags: fields.flags,
        headerLength: fields.headerLength,
        messageId: fields.messageId,
        messageType: fields.messageType,
        payloadDigestHex: fields.payloadDigestHex,
        payloadHex: fields.payloadHex ?? '',
        payloadLength: fields.payloadLength,
        payloadType: fields.headerLength === 112 ? undefined : fields.payloadType,
        schemaVersion: fields.schemaVersion,
        sequenceNumber: fields.sequenceNumber,
      },
      name,
    );
    if (message.payload.length > 0) t.equal(message.digestMatches(), digestMatches, `${name}: digest`);
  }
});

t.test('every vector of a real serializer is written byte by byte the same', async (t) => {
  const real = vectors.filter(({ producedBy }) => !producedBy.startsWith('SYNTHETIC'));
  t.ok(real.length >= 30);
  for (const { name, hex, fields } of real) {
    const written = serializeMessage({
      ...fields,
      payloadType: fields.payloadType ?? 0,
      payload: Buffer.from(fields.payloadHex, 'hex'),
    });
    t.equal(written.toString('hex'), hex, name);
  }
});

t.test('a prefix of a vector is refused, or has the digest of another payload', async (t) => {
  for (const { name, hex, fields } of vectors) {
    const bytes = Buffer.from(hex, 'hex');
    const payloadAt = fields.headerLength + 4;
    let wrong = 0;
    for (let length = 0; length < bytes.length; length++) {
      const message = parseOrRefuse(bytes.subarray(0, length));
      if (length < payloadAt) wrong += message === 'refused' ? 0 : 1;
      else if (message === 'refused') wrong += 1;
      // An empty payload is nothing that could be wrong (3.2); the publication messages have any digest.
      else if (length > payloadAt && !publication.includes(fields.messageType))
        wrong += message.digestMatches() ? 1 : 0;
    }
    t.equal(wrong, 0, name);
  }
});

t.test('bytes after a vector belong to its payload, and the digest tells', async (t) => {
  for (const { name, hex, fields } of vectors) {
    for (const trailing of ['00', '20', hex]) {
      const message = parseMessage(Buffer.from(hex + trailing, 'hex'));
      t.equal(message.payload.toString('hex'), (fields.payloadHex ?? '') + trailing, name);
      t.equal(message.digestMatches(), false, name);
    }
  }
});

t.test('any one changed byte is refused, or changes what is read', async (t) => {
  const bytes = vector('input_stream_data/output/ssh-banner');
  const shown = (message: Message) =>
    JSON.stringify([
      message.messageType,
      message.schemaVersion,
      message.createdDate,
      message.sequenceNumber,
      message.flags,
      message.messageId,
      message.payloadType,
      message.payloadLengthField,
      message.digestMatches(),
    ]);
  const before = shown(parseMessage(bytes));
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes);
    changed[at]! ^= 0x41;
    const message = parseOrRefuse(changed);
    if (message !== 'refused') t.not(shown(message), before, `byte ${at}`);
  }
});

t.test('HeaderLength is 112 or 116 and nothing else', async (t) => {
  const bytes = vector('output_stream_data/output');
  for (const headerLength of [0, 1, 111, 113, 115, 117, 120, 137, 0x7fffffff, 0x80000000, 0xffffffff]) {
    bytes.writeUInt32BE(headerLength, 0);
    t.throws(() => parseMessage(bytes), refused, `${headerLength}`);
  }
  bytes.writeUInt32BE(112, 0);
  const message = parseMessage(bytes);
  t.equal(message.payloadType, undefined);
  t.equal(message.payload.length, 25, 'what would have been PayloadLength is payload');
});

t.test('the shortest messages are 116 and 120 bytes', async (t) => {
  for (const [headerLength, shortest] of [
    [112, 116],
    [116, 120],
  ] as const) {
    const bytes = serializeMessage({
      messageType: 'x',
      createdDate: 1,
      sequenceNumber: 0,
      flags: 0,
      messageId: '01234567-89ab-4cde-8f01-23456789abcd',
      payloadType: 0,
      payload: Buffer.alloc(1),
      headerLength,
    });
    t.throws(() => parseMessage(bytes.subarray(0, shortest - 1)), refused);
    t.equal(parseMessage(bytes.subarray(0, shortest)).payload.length, 0);
    t.equal(parseMessage(bytes.subarray(0, shortest + 1)).payload.length, 1);
  }
});

t.test('MessageType is trimmed of blanks and NULs on both sides, and may not be empty', async (t) => {
  const bytes = vector('output_stream_data/output');
  const typed = (raw: string) => {
    bytes.write(raw.padEnd(32, '\0'), 4, 'latin1');
    return bytes;
  };
  for (const raw of ['channel_closed', '\0\0channel_closed', ' channel_closed ', ' \0 channel_closed\0 \0']) {
    t.equal(parseMessage(typed(raw)).messageType, 'channel_closed');
  }
  t.equal(parseMessage(typed('a b\0c')).messageType, 'a b\0c', 'what stands inside is kept');
  t.equal(parseMessage(typed('x'.repeat(32))).messageType, 'x'.repeat(32));
  for (const raw of ['', ' '.repeat(32), ' \0']) t.throws(() => parseMessage(typed(raw)), refused);
});

t.test('CreatedDate 0 is refused, but not in the publication messages', async (t) => {
  for (const { name, hex, fields } of vectors) {
    const bytes = Buffer.from(hex, 'hex');
    bytes.fill(0, 40, 48);
    if (publication.includes(fields.messageType)) t.equal(parseMessage(bytes).messageType, fields.messageType, name);
    else t.throws(() => parseMessage(bytes), refused, name);
  }
});

t.test('sequence numbers are signed, and exact or refused', async (t) => {
  const bytes = vector('output_stream_data/output');
  const numbered = (number: bigint) => {
    bytes.writeBigInt64BE(number, 48);
    return bytes;
  };
  for (const number of [0n, 1n, -1n, 2n ** 32n - 1n, 2n ** 32n, -(2n ** 32n), 2n ** 53n - 1n, 1n - 2n ** 53n]) {
    t.equal(parseMessage(numbered(number)).sequenceNumber, Number(number), `${number}`);
  }
  for (const number of [2n ** 53n, -(2n ** 53n), 2n ** 63n - 1n, -(2n ** 63n)]) {
    t.throws(() => parseMessage(numbered(number)), refused, `${number}`);
  }
});

t.test('a message without a number is not refused for what stands in its place', async (t) => {
  const bytes = vector('channel_closed/header112');
  bytes.fill(0x7f, 48, 56);
  t.equal(parseMessage(bytes).messageType, 'channel_closed');
});

t.test('64-bit fields come back as written', async (t) => {
  for (const createdDate of [1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 1_795_324_255_617, Number.MAX_SAFE_INTEGER]) {
    const message = parseMessage(
      serializeMessage({
        messageType: MessageType.inputStreamData,
        createdDate,
        sequenceNumber: createdDate,
        flags: HeaderFlags.fin,
        messageId: 'ffffffff-ffff-4fff-8fff-ffffffffffff',
        payloadType: PayloadType.output,
        payload: Buffer.from('x'),
      }),
    );
    t.equal(message.createdDate, createdDate);
    t.equal(message.sequenceNumber, createdDate);
    t.equal(message.flags, 2);
  }
});

t.test('the halves of MessageId are swapped on the wire', async (t) => {
  const bytes = serializeMessage({
    messageType: 'x',
    createdDate: 1,
    sequenceNumber: 0,
    flags: 0,
    messageId: '01234567-89ab-4cde-8f01-23456789abcd',
    payloadType: 0,
    payload: Buffer.alloc(0),
  });
  t.equal(bytes.toString('hex', 64, 80), '8f0123456789abcd0123456789ab4cde');
  t.equal(parseMessage(bytes).messageId, '01234567-89ab-4cde-8f01-23456789abcd');
});

t.test('the claimed length of a payload is not believed', async (t) => {
  const bytes = vector('output_stream_data/output');
  for (const claimed of [0, 1, 20, 22, 0xffffffff]) {
    bytes.writeUInt32BE(claimed, 116);
    t.equal(parseMessage(bytes).payload.toString(), 'SSH-2.0-OpenSSH_8.7\r\n');
    t.ok(parseMessage(bytes).digestMatches());
  }
});

t.test('bytes may be a Uint8Array in the middle of a larger buffer', async (t) => {
  const bytes = vector('output_stream_data/output');
  const larger = new Uint8Array(bytes.length + 20);
  larger.set(bytes, 10);
  const message = parseMessage(larger.subarray(10, 10 + bytes.length));
  t.equal(message.payload.toString(), 'SSH-2.0-OpenSSH_8.7\r\n');
  t.ok(message.digestMatches());
});

t.test('an acknowledgement is read and written as the references do', async (t) => {
  for (const name of ['acknowledge/client', 'acknowledge/client-live', 'acknowledge/agent', 'acknowledge/agent-live']) {
    const { payload } = parseMessage(vector(name));
    t.equal(serializeAcknowledge(parseAcknowledge(payload)).toString(), payload.toString(), name);
  }
  t.strictSame(parseAcknowledge(parseMessage(vector('acknowledge/agent')).payload), {
    messageType: 'input_stream_data',
    messageId: '01234567-89ab-4cde-8f01-23456789abcd',
    sequenceNumber: 1,
  });
});

t.test('an acknowledgement without an exact number is refused', async (t) => {
  for (const payload of [
    '',
    '{',
    'null',
    '7',
    '[]',
    '"x"',
    '{}',
    '{"AcknowledgedMessageSequenceNumber":"5"}',
    '{"AcknowledgedMessageSequenceNumber":1.5}',
    '{"AcknowledgedMessageSequenceNumber":9007199254740992}',
    '{"AcknowledgedMessageSequenceNumber":null}',
    '\xff\xfe',
  ]) {
    t.throws(() => parseAcknowledge(Buffer.from(payload, 'latin1')), refused, payload);
  }
});

t.test('JSON that is no object, or too deep, or turns String() against us, throws nothing else', async (t) => {
  t.throws(() => parseJsonObject(Buffer.from('['.repeat(200_000)), 'x'), refused);
  const hostile = '{"AcknowledgedMessageType":{"toString":1,"valueOf":1},"AcknowledgedMessageSequenceNumber":5}';
  t.match(parseAcknowledge(Buffer.from(hostile)), { messageType: '', sequenceNumber: 5 });
});
