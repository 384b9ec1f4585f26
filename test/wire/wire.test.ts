import fc from 'fast-check';
import t from 'tap';
import { ProtocolError } from '../../src/errors.ts';
import { maxMpintLength, Reader } from '../../src/wire/reader.ts';
import { Writer } from '../../src/wire/writer.ts';

const read = (hex: string) => new Reader(Buffer.from(hex.replaceAll(' ', ''), 'hex'), 'test-code');
const refused = { name: 'ProtocolError', code: 'test-code', side: 'remote' };

// The examples of RFC 4251 section 5.
const mpints: [bigint, string][] = [
  [0n, '00 00 00 00'],
  [0x9a378f9b2e332a7n, '00 00 00 08 09 a3 78 f9 b2 e3 32 a7'],
  [0x80n, '00 00 00 02 00 80'],
  [-0x1234n, '00 00 00 02 ed cc'],
  [-0xdeadbeefn, '00 00 00 05 ff 21 52 41 11'],
  [-1n, '00 00 00 01 ff'],
  [-0x80n, '00 00 00 01 80'],
];

t.test('the examples of the RFC are read and written', async (t) => {
  for (const [value, hex] of mpints) {
    t.equal(read(hex).mpint(), value, hex);
    t.equal(new Writer().mpint(value).finish().toString('hex'), hex.replaceAll(' ', ''), hex);
  }
  t.equal(read('29 b7 f4 aa').uint32(), 699921578);
  t.equal(read('00 00 00 07 74 65 73 74 69 6e 67').text(), 'testing');
  t.strictSame(read('00 00 00 00').nameList(), []);
  t.strictSame(read('00 00 00 04 7a 6c 69 62').nameList(), ['zlib']);
  t.strictSame(read('00 00 00 09 7a 6c 69 62 2c 6e 6f 6e 65').nameList(), ['zlib', 'none']);
});

t.test('what is not in the form of its type is refused', async (t) => {
  for (const hex of ['00000001 00', '00000002 007f', '00000002 ff80', '00000002 0000']) {
    t.throws(() => read(hex).mpint(), refused, hex);
  }
  for (const hex of ['00000001 2c', '00000002 612c', '00000001 20', '00000001 00', '00000001 ff']) {
    t.throws(() => read(hex).nameList(), refused, hex);
  }
  for (const hex of ['00000001 00', '00000001 ff', '00000003 610062']) t.throws(() => read(hex).text(), refused, hex);
});

t.test('an mpint has a bound', async (t) => {
  const mpint = (length: number) => new Writer().string(Buffer.alloc(length, 1)).finish();
  t.doesNotThrow(() => new Reader(mpint(maxMpintLength), 'test-code').mpint());
  t.throws(() => new Reader(mpint(maxMpintLength + 1), 'test-code').mpint(), refused);
});

t.test('nothing is read past the end, and nothing may be left where the end is', async (t) => {
  const reads: [string, (reader: Reader) => unknown][] = [
    ['', (reader) => reader.byte()],
    ['', (reader) => reader.boolean()],
    ['000000', (reader) => reader.uint32()],
    ['00000000000000', (reader) => reader.uint64()],
    ['00000002 61', (reader) => reader.string()],
    ['ffffffff 61', (reader) => reader.string()],
  ];
  for (const [hex, method] of reads) t.throws(() => method(read(hex)), refused, hex);
  t.throws(() => read('00').end(), refused);
  const reader = read('01 02');
  t.equal(reader.byte(), 1);
  t.equal(reader.rest().toString('hex'), '02');
  t.doesNotThrow(() => reader.end());
});

t.test('a string is a view: a hundred of them cost no copy', async (t) => {
  const bytes = Buffer.from('0000000161', 'hex');
  t.equal(new Reader(bytes, 'test-code').string().buffer, bytes.buffer);
});

t.test('a writer refuses what its type cannot hold', async (t) => {
  t.throws(() => new Writer().byte(256), RangeError);
  t.throws(() => new Writer().uint32(-1), RangeError);
  t.throws(() => new Writer().nameList(['a,b']), RangeError);
});

t.test('what is written is read again, whatever it is', async () => {
  const name = fc.stringMatching(/^[\x21-\x2b\x2d-\x7e]+$/);
  fc.assert(
    fc.property(
      fc.bigInt({ min: -(1n << 600n), max: 1n << 600n }),
      fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      fc.uint8Array(),
      fc.array(name),
      fc.boolean(),
      (mpint, uint64, string, names, flag) => {
        const writer = new Writer().mpint(mpint).uint64(uint64).string(string).nameList(names).boolean(flag);
        const reader = new Reader(writer.finish(), 'test-code');
        const same =
          reader.mpint() === mpint &&
          reader.uint64() === uint64 &&
          reader.string().equals(string) &&
          reader.nameList().join() === names.join() &&
          reader.boolean() === flag;
        reader.end();
        return same;
      },
    ),
  );
});

t.test('any bytes give a value or a ProtocolError', async () => {
  const methods = [
    'byte',
    'boolean',
    'uint32',
    'uint64',
    'string',
    'text',
    'mpint',
    'nameList',
    'rest',
    'end',
  ] as const;
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.array(fc.constantFrom(...methods)), (bytes, calls) => {
      const reader = new Reader(Buffer.from(bytes), 'test-code');
      try {
        for (const call of calls) reader[call]();
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
      }
      return reader.remaining >= 0;
    }),
  );
});
