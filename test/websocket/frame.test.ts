// Frames against the examples of RFC 6455 section 5.7 and against the reader and writer of ws, which shares nothing with ours.
import { randomBytes } from 'node:crypto';
import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import t from 'tap';
import * as ws from 'ws';
import { FrameError, FrameReader, frameRoom, Opcode, writeFrame } from '../../src/websocket/frame.ts';
import { runs } from '../fuzz/runs.ts';

/** Exported by ws, though not by its types. */
const { Receiver, Sender } = ws as unknown as {
  Receiver: new (options: object) => NodeJS.WritableStream;
  Sender: new (socket: NodeJS.WritableStream) => { send(data: Buffer, options: object): void };
};

type Seen = [what: string, ...rest: unknown[]];

/** Reads chunks, of which nothing is there any more after each; messages are put together again. */
function read(...chunks: Buffer[]): Seen[] {
  const seen: Seen[] = [];
  const parts: Buffer[] = [];
  const reader = new FrameReader({
    data(bytes, isBinary, isEnd) {
      parts.push(Buffer.from(bytes));
      if (isEnd) seen.push([isBinary ? 'binary' : 'text', Buffer.concat(parts.splice(0)).toString('latin1')]);
    },
    ping: (payload) => seen.push(['ping', payload.toString('latin1')]),
    pong: () => seen.push(['pong']),
    close: (code, reason) => seen.push(['close', code, reason]),
  });
  for (const chunk of chunks) {
    const read = Buffer.from(chunk);
    reader.receive(read);
    read.fill(0xff);
  }
  return seen;
}

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');
const header = (first: number, length: number) =>
  length < 126
    ? Buffer.from([first, length])
    : length < 65_536
      ? Buffer.from([first, 126, length >> 8, length & 255])
      : Buffer.concat([Buffer.from([first, 127, 0, 0, 0, 0]), Buffer.from(Uint32Array.of(length).buffer).swap32()]);
const frame = (first: number, payload: Buffer | string) =>
  Buffer.concat([header(first, payload.length), Buffer.from(payload)]);

const examples: [string, Buffer, Seen[]][] = [
  ['a text message in one frame', hex('81 05 48 65 6c 6c 6f'), [['text', 'Hello']]],
  ['a text message in two frames', hex('01 03 48 65 6c 80 02 6c 6f'), [['text', 'Hello']]],
  ['a ping', hex('89 05 48 65 6c 6c 6f'), [['ping', 'Hello']]],
  ['a pong', hex('8a 05 48 65 6c 6c 6f'), [['pong']]],
  ['256 bytes', frame(0x82, Buffer.alloc(256, 'x')), [['binary', 'x'.repeat(256)]]],
  ['64 KiB', frame(0x82, Buffer.alloc(65_536, 'y')), [['binary', 'y'.repeat(65_536)]]],
  ['an empty message', hex('82 00'), [['binary', '']]],
  ['an empty message in two frames', hex('02 00 80 00'), [['binary', '']]],
  [
    'a ping between two frames of a message',
    hex('02 01 61 89 00 80 01 62'),
    [
      ['ping', ''],
      ['binary', 'ab'],
    ],
  ],
  ['a close', hex('88 05 03 e8 42 79 65'), [['close', 1000, 'Bye']]],
  ['a close without code', hex('88 00'), [['close', 1005, '']]],
  ['nothing is read behind a close', hex('88 02 03 e8 82 01 61 ff ff'), [['close', 1000, '']]],
];

for (const [name, bytes, seen] of examples) {
  t.test(`read: ${name}`, async (t) => {
    t.strictSame(read(bytes), seen, 'whole');
    t.strictSame(read(...[...bytes].map((byte) => Buffer.from([byte]))), seen, 'byte by byte');
    const whole = seen.filter(([what]) => what === 'text' || what === 'binary').length;
    const short = read(bytes.subarray(0, -1)).filter(([what]) => what === 'text' || what === 'binary').length;
    if (name !== 'nothing is read behind a close') t.ok(short < whole || whole === 0, 'without its last byte');
  });
}

t.test('lengths at the borders of their forms', async (t) => {
  for (const length of [0, 1, 124, 125, 126, 127, 65_534, 65_535, 65_536, 65_537]) {
    const payload = randomBytes(length);
    t.strictSame(read(frame(0x82, payload)), [['binary', payload.toString('latin1')]], `read ${length}`);
    const { mask, opened } = unmask(writeFrame(Opcode.binary, payload, Buffer.allocUnsafe(frameRoom(length))));
    t.strictSame(opened, [['binary', payload.toString('latin1')]], `write ${length}`);
    t.equal(mask.length, 4);
  }
});

/** A frame of a client as a server would read it. */
function unmask(bytes: Buffer): { mask: Buffer; opened: Seen[] } {
  t.ok(bytes[1]! & 0x80, 'it is masked');
  const length = bytes[1]! & 0x7f;
  const at = length === 127 ? 10 : length === 126 ? 4 : 2;
  const mask = bytes.subarray(at, at + 4);
  const payload = Buffer.from(bytes.subarray(at + 4).map((byte, index) => byte ^ mask[index & 3]!));
  const plain = Buffer.from(bytes.subarray(0, at));
  plain[1]! &= 0x7f;
  return { mask, opened: read(plain, payload) };
}

t.test('each frame has a key of its own, and leaves its payload as it was', async (t) => {
  const payload = Buffer.from('the same bytes');
  const keys = new Set<string>();
  for (let count = 0; count < 5_000; count++) {
    const bytes = writeFrame(Opcode.binary, payload, Buffer.allocUnsafe(frameRoom(payload.length)));
    keys.add(bytes.subarray(2, 6).toString('hex'));
  }
  t.ok(keys.size > 4_990);
  t.equal(payload.toString(), 'the same bytes');
});

t.test('a frame can be made in a room that is larger and was used before', async (t) => {
  const room = Buffer.allocUnsafeSlow(frameRoom(1_000));
  for (const length of [1_000, 7, 500, 0]) {
    const payload = randomBytes(length);
    const { opened } = unmask(writeFrame(Opcode.binary, payload, room));
    t.strictSame(opened, [['binary', payload.toString('latin1')]]);
  }
});

t.test('what breaks RFC 6455 is an error with the code to close with', async (t) => {
  const table: [string, Buffer, number][] = [
    ['a reserved bit', hex('c2 00'), 1002],
    ['another one', hex('92 00'), 1002],
    ['a masked frame', hex('82 80 00 00 00 00'), 1002],
    ['an opcode that does not exist', hex('83 00'), 1002],
    ['a control opcode that does not exist', hex('8b 00'), 1002],
    ['a continuation of nothing', hex('80 00'), 1002],
    ['a message within a message', hex('02 00 82 00'), 1002],
    ['a fragmented ping', hex('09 00'), 1002],
    ['a ping of 126 bytes', hex('89 7e 00 7e'), 1002],
    ['a length above 2^53', hex('82 7f 80 00 00 00 00 00 00 00'), 1009],
    ['a close with half a code', hex('88 01 03'), 1002],
    ...[0, 999, 1004, 1005, 1006, 1015, 2999, 5000].map((code): [string, Buffer, number] => [
      `a close with code ${code}`,
      Buffer.from([0x88, 2, code >> 8, code & 255]),
      1002,
    ]),
  ];
  for (const [name, bytes, closeCode] of table)
    t.throws(() => read(bytes), { closeCode } as Partial<FrameError> & Error, name);
  for (const code of [1000, 1003, 1007, 1011, 1014, 3000, 4999]) {
    t.strictSame(read(Buffer.from([0x88, 2, code >> 8, code & 255])), [['close', code, '']]);
  }
});

t.test('after an error nothing is read', async (t) => {
  let messages = 0;
  const reader = new FrameReader({ data: () => messages++, ping() {}, pong() {}, close() {} });
  t.throws(() => reader.receive(hex('c2 00')), /reserved/);
  reader.receive(hex('82 01 61'));
  t.equal(messages, 0);
});

t.test('whatever a peer sends, in whatever pieces, is read or is a FrameError', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 }), (chunks) => {
      try {
        read(...chunks.map((chunk) => Buffer.from(chunk)));
      } catch (error) {
        if (!(error instanceof FrameError)) throw error;
      }
    }),
    runs(2_000),
  );
  t.pass();
});

t.test('ws reads what we write, and we read what ws writes', async (t) => {
  const messages = Array.from({ length: 50 }, (_, at) => randomBytes((at * at * 53) % 70_000));
  const receiver = new Receiver({ isServer: true });
  const read: string[] = [];
  receiver.on('message', (bytes: Buffer) => read.push(bytes.toString('latin1')));
  for (const message of messages) {
    receiver.write(writeFrame(Opcode.binary, message, Buffer.allocUnsafe(frameRoom(message.length))));
  }
  await new Promise<void>((resolve) => receiver.end(resolve));
  t.strictSame(
    read,
    messages.map((message) => message.toString('latin1')),
  );
});

t.test('messages of ws are read in whatever pieces they come', async (t) => {
  const wire = new PassThrough({ highWaterMark: 2 ** 24 });
  const sender = new Sender(wire);
  const messages = Array.from({ length: 30 }, (_, at) => randomBytes((at * at * 91) % 70_000));
  for (const message of messages) sender.send(message, { binary: true, fin: true, mask: false, compress: false });
  const bytes: Buffer = wire.read();
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const size = 1 + ((at * 7919) % 5_000);
    chunks.push(bytes.subarray(at, at + size));
    at += size;
  }
  t.strictSame(
    read(...chunks),
    messages.map((message) => ['binary', message.toString('latin1')]),
  );
});

/** What ws makes of the same bytes; ERROR where it reads no further. */
async function readByWs(chunks: Buffer[]): Promise<Seen[]> {
  const seen: Seen[] = [];
  const receiver = new Receiver({ isServer: false, skipUTF8Validation: true });
  receiver.on('message', (bytes: Buffer, isBinary: boolean) =>
    seen.push([isBinary ? 'binary' : 'text', bytes.toString('latin1')]),
  );
  receiver.on('ping', (payload: Buffer) => seen.push(['ping', payload.toString('latin1')]));
  receiver.on('pong', () => seen.push(['pong']));
  receiver.on('conclude', (code: number, reason: Buffer) => seen.push(['close', code, reason.toString('utf8')]));
  receiver.on('error', () => seen.push(['ERROR']));
  for (const chunk of chunks) if (receiver.writable) receiver.write(chunk);
  await new Promise((resolve) => setImmediate(resolve));
  return seen;
}

/** As `read`, but with what was seen before an error. */
function readUpToError(chunks: Buffer[]): Seen[] {
  const seen: Seen[] = [];
  for (let count = 1; count <= chunks.length; count++) {
    try {
      seen.splice(0, seen.length, ...read(...chunks.slice(0, count)));
    } catch {
      return [...seen, ['ERROR']];
    }
  }
  return seen;
}

t.test('of any run of frames, right and wrong, in any pieces, ws and we see the same', async (t) => {
  const frames = fc.record({
    first: fc.oneof(
      { weight: 8, arbitrary: fc.constantFrom(0x02, 0x82, 0x00, 0x80, 0x81, 0x89, 0x8a) },
      { weight: 1, arbitrary: fc.constant(0x88) },
      { weight: 1, arbitrary: fc.nat(255) },
    ),
    payload: fc.oneof(
      fc.uint8Array({ maxLength: 12 }),
      fc.constantFrom(125, 126, 127, 65_535, 65_536).map((length) => new Uint8Array(length).fill(7)),
    ),
  });
  let errors = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(frames, { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 200 })),
      async (run, cuts) => {
        const bytes = Buffer.concat(run.map(({ first, payload }) => frame(first, Buffer.from(payload))));
        const chunks: Buffer[] = [];
        let at = 0;
        for (const cut of cuts) {
          chunks.push(bytes.subarray(at, at + cut));
          at += cut;
        }
        chunks.push(bytes.subarray(at));
        const [ours, theirs] = [readUpToError(chunks), await readByWs(chunks)];
        if (ours.at(-1)?.[0] === 'ERROR') errors += 1;
        // An error takes with it, here, what came before it in its chunk.
        const isError = ours.at(-1)?.[0] === 'ERROR';
        const same = isError ? theirs.at(-1)?.[0] === 'ERROR' : JSON.stringify(ours) === JSON.stringify(theirs);
        if (!same) throw new Error(`${JSON.stringify(ours)} against ${JSON.stringify(theirs)}`);
      },
    ),
    runs(500),
  );
  t.ok(errors > 0);
});
