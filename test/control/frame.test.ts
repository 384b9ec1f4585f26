import fc from 'fast-check';
import t from 'tap';
import { FrameReader, FrameType, maxFrameLength, serializeFrame } from '../../src/control/frame.ts';
import { ProtocolError } from '../../src/errors.ts';

/** Frames as bytes, by hand (PROTOCOL.md, "The control socket"). */
const vectors = [
  { hex: '00000003 07 7b7d', frame: { type: FrameType.go, body: {} } },
  { hex: '0000000f 01 7b2270726f746f636f6c223a317d', frame: { type: 1, body: { protocol: 1 } } },
  { hex: '0000000b 03 7b2274223a22c3bc227d', frame: { type: 3, body: { t: 'ü' } } },
].map(({ hex, frame }) => ({ bytes: Buffer.from(hex.replaceAll(' ', ''), 'hex'), frame }));

function readAll(reader: FrameReader): unknown[] {
  const frames: unknown[] = [];
  for (let frame = reader.next(); frame !== undefined; frame = reader.next()) frames.push(frame);
  return frames;
}

function readerOf(...chunks: Buffer[]): FrameReader {
  const reader = new FrameReader();
  for (const chunk of chunks) reader.push(chunk);
  return reader;
}

t.test('frames are written and read as the document has them', async (t) => {
  for (const { bytes, frame } of vectors) {
    t.strictSame(serializeFrame(frame.type as FrameType, frame.body), bytes);
    t.strictSame(readAll(readerOf(bytes)), [frame]);
  }
});

t.test('a frame comes out with its last byte and not before', async (t) => {
  for (const { bytes, frame } of vectors) {
    const reader = new FrameReader();
    for (const [i, byte] of bytes.entries()) {
      t.equal(reader.next(), undefined, `before byte ${i}`);
      reader.push(Buffer.from([byte]));
    }
    t.strictSame(reader.next(), frame);
    t.equal(reader.length, 0);
  }
});

t.test('what follows the frames is given back byte for byte, whatever it looks like', async (t) => {
  const all = Buffer.concat(vectors.map(({ bytes }) => bytes));
  for (const raw of [
    Buffer.from('SSH-2.0-x\r\n'),
    all,
    Buffer.from([0, 0, 0]),
    Buffer.alloc(0),
    Buffer.alloc(9, 0xff),
  ]) {
    const reader = readerOf(Buffer.concat([vectors[0]!.bytes, raw]));
    t.strictSame(reader.next(), vectors[0]!.frame);
    t.strictSame(reader.rest(), raw);
    t.equal(reader.length, 0);
    reader.push(vectors[1]!.bytes);
    t.strictSame(reader.next(), vectors[1]!.frame, 'it reads on afterwards');
  }
});

t.test('lengths are bounded both ways, at the bound itself too', async (t) => {
  const bodyOf = (length: number) => ({ x: 'a'.repeat(length - 1 - '{"x":""}'.length) });
  const largest = serializeFrame(FrameType.open, bodyOf(maxFrameLength));
  t.equal(largest.length, 4 + maxFrameLength);
  t.strictSame(readerOf(largest).next()?.body, bodyOf(maxFrameLength));
  t.throws(() => serializeFrame(FrameType.open, bodyOf(maxFrameLength + 1)), { code: 'control-frame', side: 'local' });

  const header = (length: number) => {
    const bytes = Buffer.alloc(5, FrameType.open);
    bytes.writeUInt32BE(length, 0);
    return bytes;
  };
  t.equal(readerOf(header(maxFrameLength)).next(), undefined);
  for (const length of [0, maxFrameLength + 1, 0xffff_ffff]) {
    t.throws(() => readerOf(header(length)).next(), { code: 'control-frame', side: 'remote' }, `length ${length}`);
  }
});

t.test('what is no frame is refused, and its error does not quote it', async (t) => {
  const framed = (type: number, text: string) => {
    const bytes = Buffer.concat([Buffer.alloc(4), Buffer.from([type]), Buffer.from(text)]);
    bytes.writeUInt32BE(bytes.length - 4, 0);
    return bytes;
  };
  for (const bytes of [
    framed(99, '{}'),
    framed(0, '{}'),
    framed(FrameType.resolved, '{"SecretAccessKey":"hunter2"'),
    framed(FrameType.resolved, '["hunter2"]'),
    framed(FrameType.resolved, 'null'),
    framed(FrameType.resolved, ''),
  ]) {
    try {
      readerOf(bytes).next();
      t.fail(`taken: ${bytes.toString('latin1')}`);
    } catch (error) {
      t.match(error, { code: 'control-frame', side: 'remote' });
      t.notMatch(`${(error as Error).stack} ${String((error as Error).cause)}`, 'hunter2');
    }
  }
});

t.test('any frames in any chunks come out whole, in order, with what follows', async () => {
  const frame = fc.record({
    type: fc.constantFrom(...Object.values(FrameType)),
    body: fc.dictionary(fc.string(), fc.jsonValue()),
  });
  fc.assert(
    fc.property(fc.array(frame), fc.uint8Array(), fc.array(fc.nat(40)), (frames, raw, cuts) => {
      const bytes = Buffer.concat([...frames.map(({ type, body }) => serializeFrame(type, body)), raw]);
      const reader = new FrameReader();
      const seen: unknown[] = [];
      for (let at = 0, cut = 0; at < bytes.length; cut++) {
        const size = cuts.length === 0 ? bytes.length : 1 + cuts[cut % cuts.length]!;
        reader.push(bytes.subarray(at, at + size));
        at += size;
        for (
          let next = seen.length < frames.length && reader.next();
          next;
          next = seen.length < frames.length && reader.next()
        ) {
          seen.push(next);
        }
      }
      const expected = JSON.stringify(frames.map(({ type, body }) => ({ type, body })));
      return JSON.stringify(seen) === expected && reader.rest().equals(raw);
    }),
  );
});

t.test('any bytes in any chunks lead to frames or a ProtocolError', async () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 64 })), (chunks) => {
      const reader = new FrameReader();
      try {
        for (const chunk of chunks) {
          reader.push(Buffer.from(chunk));
          readAll(reader);
        }
      } catch (error) {
        return error instanceof ProtocolError;
      }
      return true;
    }),
  );
});

t.test('a million chunks of one byte take the room of a million bytes', async (t) => {
  const reader = new FrameReader();
  const byte = Buffer.from([0]);
  reader.push(serializeFrame(FrameType.open, { x: 'a'.repeat(1_000_000) }).subarray(0, 5));
  const before = process.memoryUsage();
  for (let i = 0; i < 1_000_000; i++) reader.push(byte);
  const after = process.memoryUsage();
  const grown = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers;
  t.equal(reader.length, 1_000_005);
  t.ok(grown < 16_000_000, `${(grown / 1e6).toFixed(1)} MB`);
});
