// smux frames against those captured from the library that the agent and the plugin use (golden-messages.json, `smux`).
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import t from 'tap';
import { Command, type Frame, FrameReader, serializeFrame } from '../../../src/ssm/mux/frame.ts';

const file = resolve(import.meta.dirname, '../../vectors/golden-messages.json');
const golden: Record<string, string[]> = JSON.parse(readFileSync(file, 'utf8')).smux.results;
const vector = (name: string, at = 0) => Buffer.from(golden[name]![at]!.replace(/ \+.*/, ''), 'hex');

const vectors: { name: string; at?: number; command: Command; streamId: number; length?: number }[] = [
  { name: 'client OpenStream #1 (SYN)', command: Command.syn, streamId: 3 },
  { name: 'client OpenStream #2 (SYN)', command: Command.syn, streamId: 5 },
  { name: 'client Write 11 bytes (PSH)', command: Command.psh, streamId: 3, length: 11 },
  { name: 'client Write 40000 bytes (PSH split at MaxFrameSize)', command: Command.psh, streamId: 5, length: 32_768 },
  {
    name: 'client Write 40000 bytes (PSH split at MaxFrameSize)',
    at: 1,
    command: Command.psh,
    streamId: 5,
    length: 7_232,
  },
  { name: 'client Close (FIN)', command: Command.fin, streamId: 3 },
  { name: 'server Close stream (FIN)', command: Command.fin, streamId: 3 },
  { name: 'server Write 2 bytes (PSH)', command: Command.psh, streamId: 3, length: 2 },
  { name: 'keepalive NOP', command: Command.nop, streamId: 0 },
];

for (const { name, at = 0, command, streamId, length = 0 } of vectors) {
  t.test(`${name} ${at}: bytes and value agree`, async (t) => {
    const bytes = vector(name, at);
    const data = bytes.length === 8 ? Buffer.alloc(length, 'd') : bytes.subarray(8);
    const whole = Buffer.concat([bytes.subarray(0, 8), data]);
    t.same(serializeFrame(command, streamId, [data]), whole);
    t.same(serializeFrame(command, streamId, [data.subarray(0, 1), data.subarray(1)]), whole);
    t.same(new FrameReader().read(whole), [{ command, streamId, data }]);
  });
}

const stream = Buffer.concat([
  vector('client OpenStream #1 (SYN)'),
  vector('client Write 11 bytes (PSH)'),
  vector('keepalive NOP'),
  vector('server Write 2 bytes (PSH)'),
  vector('client Close (FIN)'),
]);

/** Pieces of one frame's data put together. */
function joined(frames: Frame[]): string[] {
  const lines: string[] = [];
  for (const { command, streamId, data } of frames) {
    const last = lines.at(-1);
    if (command === Command.psh && last?.startsWith(`psh ${streamId} `)) lines[lines.length - 1] = last + data;
    else lines.push(command === Command.psh ? `psh ${streamId} ${data}` : `${command} ${streamId}`);
  }
  return lines;
}

t.test('frames that come in pieces of any size are the same frames', async (t) => {
  const whole = joined(new FrameReader().read(stream));
  t.same(whole, ['0 3', 'psh 3 SSH-2.0-x\r\n', '3 0', 'psh 3 hi', '1 3']);
  for (let size = 1; size < stream.length; size++) {
    const reader = new FrameReader();
    const frames: Frame[] = [];
    for (let at = 0; at < stream.length; at += size) frames.push(...reader.read(stream.subarray(at, at + size)));
    t.same(joined(frames), whole, `${size} bytes`);
    t.ok(reader.atBoundary);
  }
});

t.test('a stream that ends within a frame is not at a boundary', async (t) => {
  const ends = [8, 8 + 8 + 11, stream.length - 8 - 10, stream.length - 8];
  for (let length = 1; length < stream.length; length++) {
    const reader = new FrameReader();
    reader.read(stream.subarray(0, length));
    t.equal(reader.atBoundary, ends.includes(length), `${length} bytes`);
  }
});

t.test('data of no length is no frame, and what follows is read', async (t) => {
  const bytes = Buffer.concat([serializeFrame(Command.psh, 3), serializeFrame(Command.fin, 3)]);
  t.same(joined(new FrameReader().read(bytes)), ['1 3']);
});

t.test('another version and an unknown command can not be read', async (t) => {
  for (const [bytes, what] of [
    ['0200000003000000', 'version 2'],
    ['0104000003000000', 'command 4'],
    ['0000000000000000', 'version 0'],
  ] as const) {
    const read = () => new FrameReader().read(Buffer.from(bytes, 'hex'));
    t.throws(read, { code: 'mux', message: new RegExp(what) });
  }
});
