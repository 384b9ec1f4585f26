import type { Socket } from 'node:net';
import { PassThrough, Writable } from 'node:stream';
import t from 'tap';
import * as ws from 'ws';
import { Opcode } from '../../src/websocket/frame.ts';
import { FrameWriter } from '../../src/websocket/frame-writer.ts';

const { Receiver } = ws as unknown as { Receiver: new (options: object) => Writable };

/** What a socket is asked to write, each call apart. */
class Calls extends Writable {
  readonly calls: Buffer[] = [];
  corks = 0;

  override cork(): void {
    this.corks += 1;
    super.cork();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.calls.push(chunk);
    done();
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.calls.push(Buffer.concat(chunks.map(({ chunk }) => chunk)));
    done();
  }
}

function start() {
  const socket = new Calls();
  return { socket, writer: new FrameWriter(socket as unknown as Socket) };
}

/** The messages in it, by ws's own reader. */
async function messages(bytes: Buffer): Promise<Buffer[]> {
  const receiver = new Receiver({ isServer: true });
  const found: Buffer[] = [];
  receiver.on('message', (message: Buffer) => found.push(message));
  const source = new PassThrough();
  source.pipe(receiver);
  source.end(bytes);
  await new Promise((resolve) => receiver.on('finish', resolve));
  return found;
}

const payload = (length: number, fill: number) => Buffer.alloc(length, fill);

t.test('small frames between cork and uncork are one write, and readable', async (t) => {
  const { socket, writer } = start();
  const sent = [payload(1, 1), payload(125, 2), payload(126, 3), payload(341, 4), payload(2_000, 5)];
  writer.cork();
  for (const each of sent) writer.write(Opcode.binary, each);
  t.equal(socket.calls.length, 0);
  writer.uncork();
  t.equal(socket.calls.length, 1);
  t.strictSame(await messages(socket.calls[0]!), sent);

  writer.write(Opcode.binary, payload(3, 6));
  t.equal(socket.calls.length, 2, 'afterwards each is one again');
  t.equal(socket.corks, 0, 'none of it goes through a queue');
});

t.test('order is kept, whatever the sizes and however many', async (t) => {
  const { socket, writer } = start();
  const sent = Array.from({ length: 300 }, (_, at) => payload([300, 3_000, 50, 70_000, 1_100][at % 5]!, at));
  for (const round of [1, 2]) {
    writer.cork();
    for (const each of sent) writer.write(Opcode.binary, each);
    writer.uncork();
    t.equal(socket.calls.length, round, 'still one system call');
  }
  t.strictSame(await messages(Buffer.concat(socket.calls)), [...sent, ...sent]);
});

t.test('more small frames than there is room for leave all the same', async (t) => {
  const { socket, writer } = start();
  const sent = Array.from({ length: 200 }, (_, at) => payload(341, at));
  writer.cork();
  for (const each of sent) writer.write(Opcode.binary, each);
  writer.uncork();
  t.equal(socket.calls.length, 1);
  t.strictSame(await messages(Buffer.concat(socket.calls)), sent);
});

t.test('what one writer has written is not touched by the next', async (t) => {
  const [one, other] = [start(), start()];
  one.writer.cork();
  one.writer.write(Opcode.binary, payload(300, 1));
  one.writer.uncork();
  other.writer.cork();
  other.writer.write(Opcode.binary, payload(300, 2));
  other.writer.uncork();
  t.strictSame(await messages(one.socket.calls[0]!), [payload(300, 1)]);
  t.strictSame(await messages(other.socket.calls[0]!), [payload(300, 2)]);
});
