// Streams over a transport that is played here: what bounds their memory, and what becomes of them when it fails.
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import t from 'tap';
import { TransportError } from '../../../src/errors.ts';
import { silent } from '../../../src/log.ts';
import { Command, FrameReader, serializeFrame } from '../../../src/ssm/mux/frame.ts';
import { MuxLink } from '../../../src/ssm/mux/link.ts';
import type { SsmTransport } from '../../../src/ssm/transport.ts';
import { ManualClock } from '../../manual-clock.ts';

/** Keeps what is written, and takes no more than it is let. */
class FakeTransport extends Duplex {
  readonly agentVersion = '3.3.1142.0';
  written: Buffer[] = [];
  #waiting: (() => void) | undefined;
  takes = true;

  constructor() {
    super({ readableHighWaterMark: 64 * 1024, writableHighWaterMark: 64 * 1024 });
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.written.push(chunk);
    if (this.takes) done();
    else this.#waiting = done;
  }

  /** Takes what waits. */
  drain(): void {
    this.takes = true;
    this.#waiting?.();
  }

  /** `psh 3 5`: five bytes for stream 3. */
  get frames(): string[] {
    const names = { [Command.syn]: 'syn', [Command.fin]: 'fin', [Command.psh]: 'psh', [Command.nop]: 'nop' };
    return new FrameReader()
      .read(Buffer.concat(this.written))
      .map(({ command, streamId, data }) => `${names[command]} ${streamId}${data.length > 0 ? ` ${data.length}` : ''}`);
  }
}

function scene() {
  const transport = new FakeTransport();
  transport.on('error', () => {});
  const clock = new ManualClock();
  const link = new MuxLink({
    transport: transport as unknown as SsmTransport,
    clientVersion: '1.2.896.0',
    clock,
    log: silent,
    onChange() {},
  });
  const open = () => {
    const stream = link.open();
    const errors: string[] = [];
    stream.on('error', (error: { code?: string }) => errors.push(error.code ?? ''));
    return { stream, errors };
  };
  const give = (streamId: number, bytes: number) => {
    for (let left = bytes; left > 0; left -= 32_768)
      transport.push(serializeFrame(Command.psh, streamId, [Buffer.alloc(Math.min(left, 32_768))]));
  };
  return { transport, clock, link, open, give };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

const mebibyte = 2 ** 20;

t.test('what is written to a stream goes as frames, and its end behind it', async (t) => {
  const { transport, clock, link, open } = scene();
  const { stream } = open();
  stream.end('hello');
  stream.resume();
  await once(stream, 'close');
  t.same(transport.frames, ['syn 3', 'psh 3 5', 'fin 3']);
  t.equal(link.size, 0);
  t.equal(clock.pending, 0, 'nobody is kept awake for a session without streams');
});

t.test('a writer waits while the transport takes nothing, and the session counts as strained', async (t) => {
  const { transport, clock, link, open } = scene();
  transport.takes = false;
  const { stream } = open();
  let taken = 0;
  for (let i = 0; i < 20; i++) stream.write(Buffer.alloc(32_768), () => taken++);
  await until(() => taken > 0);
  await new Promise((resolve) => setImmediate(resolve));
  t.ok(taken < 20);
  t.notOk(link.isStrained);
  await clock.advance(2_500);
  t.ok(link.isStrained);
  transport.drain();
  await until(() => taken === 20);
  t.notOk(link.isStrained);
});

t.test(
  'the only stream whose client does not read stops the session, until it reads or another one opens',
  async (t) => {
    const { transport, link, open, give } = scene();
    const { stream, errors } = open();
    give(3, 20 * mebibyte);
    await until(() => transport.isPaused());
    t.ok(stream.readableLength < 5 * mebibyte, 'a bounded amount waits');
    t.ok(link.isStrained);
    let read = 0;
    stream.on('data', (chunk: Buffer) => {
      read += chunk.length;
    });
    await until(() => read === 20 * mebibyte);
    stream.pause();
    give(3, 20 * mebibyte);
    await until(() => transport.isPaused());
    const other = open();
    await until(() => !transport.isPaused());
    t.same([errors, other.errors], [[], []]);
  },
);

t.test('of several streams the one whose client leaves too much unread is ended; the others go on', async (t) => {
  const { transport, open, give } = scene();
  const [stopped, reading] = [open(), open()];
  let read = 0;
  reading.stream.on('data', (chunk: Buffer) => {
    read += chunk.length;
  });
  for (let i = 0; i < 70; i++) {
    give(3, mebibyte);
    give(5, 1000);
  }
  await until(() => stopped.stream.destroyed && read === 70_000);
  t.same(stopped.errors, ['reader-stalled']);
  t.same(reading.errors, []);
  t.notOk(transport.isPaused());
  t.ok(transport.frames.includes('fin 3'), 'the agent is told');
});

t.test('a failure of the transport is that of every stream', async (t) => {
  const { transport, link, open } = scene();
  const streams = [open(), open()];
  transport.destroy(new TransportError('connection-lost', 'gone'));
  await until(() => streams.every(({ stream }) => stream.destroyed));
  t.same(
    streams.map(({ errors }) => errors),
    [['connection-lost'], ['connection-lost']],
  );
  t.ok(link.isGone);
});

t.test('an agent that ends the session at once does not want to go there', async (t) => {
  const { transport, open } = scene();
  const { errors } = open();
  transport.destroy(new TransportError('port-closed', 'Forwarding to IP address 169.254.169.254 is forbidden.'));
  await until(() => errors.length > 0);
  t.same(errors, ['destination-refused']);
});

t.test('frames that can not be read end the session', async (t) => {
  const { transport, open } = scene();
  const { errors } = open();
  transport.push(Buffer.from('HTTP/1.1 400 Bad Request\r\n'));
  await until(() => errors.length > 0);
  t.same(errors, ['mux']);
  t.ok(transport.destroyed);
});

t.test('a refused port is the error of its stream', async (t) => {
  const { transport, open } = scene();
  const { errors } = open();
  transport.emit('connect-error');
  transport.push(serializeFrame(Command.fin, 3));
  await until(() => errors.length > 0);
  t.same(errors, ['port-refused']);
});
