import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import t, { type Test } from 'tap';
import { TransportError } from '../../src/errors.ts';
import { relay, type Taker } from '../../src/tunnel/relay.ts';
import { ManualClock, turn } from '../manual-clock.ts';
import { FakeTransport } from './fake-transport.ts';

/** Where ssh reads: it may stop, and it may go away. */
class Stdout extends Writable {
  text = '';
  /** Length of what came in one system call. */
  readonly calls: number[] = [];
  reading = true;
  #held: (() => void) | undefined;

  constructor(highWaterMark = 16) {
    super({ highWaterMark });
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), 'binary' as BufferEncoding, done);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (chunk.length > 0) this.calls.push(chunk.length);
    const take = () => {
      this.text += chunk.toString();
      done();
    };
    if (this.reading) take();
    else this.#held = take;
  }

  readAgain(): void {
    this.reading = true;
    this.#held?.();
  }

  breakPipe(): void {
    this.destroy(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
  }
}

function start(t: Test, transport = new FakeTransport(), stdout = new Stdout(), stdin = new PassThrough()) {
  const clock = new ManualClock();
  const stop = new AbortController();
  const state = { orphan: false, end: 'running' as unknown };
  const ended = relay({
    stdin,
    stdout,
    transport,
    clock,
    signal: stop.signal,
    isOrphan: () => state.orphan,
  })
    .then(
      () => {
        state.end = 'clean';
      },
      (error) => {
        state.end = error.code ?? error;
      },
    )
    .then(() => t.equal(clock.pending, 0, 'no timer is left'));
  return { clock, transport, stdin, stdout, stop, state, ended };
}

t.test('bytes pass both ways', async (t) => {
  const { transport, stdin, stdout, ended } = start(t);
  stdin.write('SSH-2.0-client\r\n');
  transport.say('SSH-2.0-target\r\n');
  transport.say('more');
  await turn();
  t.equal(transport.received, 'SSH-2.0-client\r\n');
  t.equal(stdout.text, 'SSH-2.0-target\r\nmore');
  transport.hangUp();
  await ended;
});

t.test('what ssh wrote is taken in small pieces, or at once where the transport takes as much anyway', async (t) => {
  const written = 'x'.repeat(20_000);
  for (const [mark, writes] of [
    [16, [8_192, 8_192, 3_616]],
    [64_000, [20_000]],
  ] as const) {
    const { transport, stdin, ended } = start(t, new FakeTransport(mark));
    stdin.write(written);
    await turn();
    t.strictSame(transport.writes, writes);
    transport.hangUp();
    await ended;
  }
});

/** As the daemon's, which offers what it reads. */
class OfferingStdin extends PassThrough {
  taker: Taker | undefined = undefined;
}

t.test('what stdin offers goes on in the same turn, where it may', async (t) => {
  const stdin = new OfferingStdin();
  const { transport, ended } = start(t, new FakeTransport(), undefined, stdin);
  const offer = (bytes: number) => stdin.taker!(Buffer.alloc(bytes, 'x'));
  t.ok(offer(1));
  t.ok(offer(8_192));
  t.strictSame(transport.writes, [1, 8_192]);
  t.notOk(offer(8_193), 'more than a piece is cut by way of the stream');
  transport.taking = false;
  t.ok(offer(20));
  t.notOk(offer(1), 'nothing goes to a transport that is full');
  transport.takeAgain();
  await turn();
  t.ok(offer(1));
  t.strictSame(transport.writes, [1, 8_192, 20, 1]);
  const last = stdin.taker!;
  transport.hangUp();
  await turn();
  t.notOk(last(Buffer.from('x')), 'nor to one that has ended');
  await ended;
  t.equal(stdin.taker, undefined, 'nobody takes any more');
});

t.test('a killed ssh whose last words were taken is noticed by its end, though it can not be read', async (t) => {
  const stdin = new OfferingStdin();
  const { clock, transport, state, ended } = start(t, new FakeTransport(), undefined, stdin);
  await turn();
  transport.taking = false;
  t.ok(stdin.taker!(Buffer.alloc(20)));
  stdin.end();
  state.orphan = true;
  await turn();
  await clock.advance(1_000);
  await ended;
  t.ok(transport.sessionEnded);
});

t.test('what comes first leaves at once, and what else comes in that turn in one call', async (t) => {
  const stdout = new Stdout(64 * 1024);
  const { transport, ended } = start(t, new FakeTransport(), stdout);
  const say = async (...lengths: number[]) => {
    for (const length of lengths) transport.say('x'.repeat(length));
    await turn();
    return stdout.calls.splice(0);
  };
  t.strictSame(await say(5, 1024, 7, 90), [5, 1121]);
  for (let at = 0; at < 2; at++) {
    transport.say('x');
    t.strictSame(stdout.calls.splice(0), [1], 'nothing is waited for');
    await turn();
  }
  for (let at = 0; at < 40; at++) t.strictSame(await say(1024), [1024], 'at once');
  transport.hangUp();
  await ended;
});

t.test("the target's close is a clean end, after its last byte has been written", async (t) => {
  const { transport, stdout, state, ended } = start(t);
  stdout.reading = false;
  transport.say('last words');
  transport.hangUp();
  await turn();
  t.equal(state.end, 'running', 'as long as ssh has not read them');
  stdout.readAgain();
  await ended;
  t.equal(state.end, 'clean');
  t.equal(stdout.text, 'last words');
});

t.test('stdin at its end: what it said is delivered, then the session is ended', async (t) => {
  const { transport, stdin, state, ended } = start(t);
  transport.taking = false;
  stdin.end('a message that is longer than the buffer');
  await turn();
  t.notOk(transport.sessionEnded);
  transport.takeAgain();
  await ended;
  t.equal(state.end, 'clean');
  t.equal(transport.received, 'a message that is longer than the buffer');
  t.ok(transport.sessionEnded);
});

t.test('a target that takes nothing more is given up within 3 s after the end of stdin', async (t) => {
  const { clock, transport, stdin, state, ended } = start(t);
  transport.taking = false;
  stdin.end('held');
  await clock.advance(2_900);
  await ended;
  t.equal(state.end, 'clean');
  t.ok(transport.sessionEnded);
});

t.test('a session whose end is never confirmed is left within 3 s after a signal', async (t) => {
  const { clock, transport, stop, state, ended } = start(t);
  transport.ending = false;
  stop.abort();
  await clock.advance(2_900);
  await ended;
  t.equal(state.end, 'clean');
});

t.test('after a signal nobody waits for a reader that stands still, once the session has ended', async (t) => {
  const { clock, transport, stdout, stop, state, ended } = start(t);
  stdout.reading = false;
  for (let n = 0; n < 20; n++) transport.say('sixteen bytes ..');
  await turn();
  stop.abort();
  await clock.advance(899);
  t.equal(state.end, 'running');
  t.ok(transport.sessionEnded);
  await clock.advance(1);
  await ended;
  t.equal(state.end, 'clean');
});

t.test('after a signal the last words of stdin are still delivered', async (t) => {
  const { clock, transport, stdin, stop, state, ended } = start(t);
  stop.abort();
  stdin.write('goodbye');
  await clock.advance(150);
  await ended;
  t.equal(transport.received, 'goodbye');
  t.equal(state.end, 'clean');
});

t.test('a closed stdout is a normal end', async (t) => {
  const { transport, stdout, state, ended } = start(t);
  transport.say('x');
  await turn();
  stdout.breakPipe();
  await ended;
  t.equal(state.end, 'clean');
  t.ok(transport.sessionEnded);
});

t.test('a stdout that breaks while the target speaks does not keep the end from coming', async (t) => {
  const { transport, stdout, state, ended } = start(t);
  stdout.reading = false;
  for (let i = 0; i < 10; i++) transport.say('sixteen bytes ..');
  await turn();
  stdout.breakPipe();
  await ended;
  t.equal(state.end, 'clean');
});

t.test('a slow reader stops the target', async (t) => {
  const { transport, stdout, ended } = start(t);
  stdout.reading = false;
  transport.say('sixteen bytes ..');
  await turn();
  transport.say('sixteen bytes ..');
  await turn();
  const { reads } = transport;
  t.equal(transport.say('sixteen bytes ..'), false, 'the transport is told to wait');
  await turn();
  t.equal(transport.reads, reads, 'and nothing more is asked of it');
  stdout.readAgain();
  await turn();
  t.equal(stdout.text.length, 48);
  transport.hangUp();
  await ended;
});

t.test('a slow target stops stdin', async (t) => {
  const { clock, transport, stdin, ended } = start(t);
  transport.taking = false;
  let written = 0;
  while (written < 1_000_000 && stdin.write(Buffer.alloc(1_000))) written += 1_000;
  await clock.advance(5_000);
  t.ok(transport.writableLength < 100_000 && stdin.writableNeedDrain, 'what is held is bounded');
  transport.takeAgain();
  await turn();
  transport.hangUp();
  await ended;
});

t.test('a killed ssh is noticed although stdin is not read', async (t) => {
  const { clock, transport, stdin, state, ended } = start(t);
  transport.taking = false;
  transport.say('x');
  stdin.write('more than sixteen bytes');
  await clock.advance(60_000);
  t.equal(state.end, 'running', 'waiting for a slow target may take its time');
  state.orphan = true;
  await clock.advance(1_000);
  await ended;
  t.ok(transport.sessionEnded);
});

/** The target takes nothing, and there is more for it than the transport takes. */
async function fill({ transport, stdin }: ReturnType<typeof start>): Promise<void> {
  transport.taking = false;
  stdin.write('more than sixteen bytes');
  await turn();
}

t.test('a transport that is full now and then costs no timer each time', async (t) => {
  const scene = start(t);
  const { clock, transport, state, ended } = scene;
  const after = clock.after.bind(clock);
  let timers = 0;
  clock.after = (ms, callback) => {
    timers += 1;
    return after(ms, callback);
  };
  for (let at = 0; at < 20; at++) {
    await fill(scene);
    t.ok(transport.writableNeedDrain);
    transport.takeAgain();
    await turn();
  }
  t.equal(timers, 1);
  await clock.advance(2_000);
  t.equal(clock.pending, 0, 'the one is not set again when nothing stands still');

  state.orphan = true;
  await fill(scene);
  await clock.advance(500);
  await ended;
  t.ok(transport.sessionEnded, 'but when something does');
});

t.test('a killed ssh whose last words the target takes, slowly, is let finish', async (t) => {
  const scene = start(t);
  const { clock, transport, state, ended } = scene;
  state.orphan = true;
  for (let at = 0; at < 5; at++) {
    await fill(scene);
    await clock.advance(450);
    t.equal(state.end, 'running');
    t.notOk(transport.sessionEnded);
    transport.takeAgain();
    await turn();
  }
  await fill(scene);
  await clock.advance(500);
  await ended;
  t.ok(transport.sessionEnded, 'it is not waited for when it stands still');
});

t.test('a transport that fails is reported, unless our side was leaving already', async (t) => {
  const failing = start(t);
  failing.transport.destroy(new TransportError('cut', 'the network is gone'));
  await failing.ended;
  t.equal(failing.state.end, 'cut');

  const leaving = start(t);
  leaving.transport.taking = false;
  leaving.stdin.end('x');
  await turn();
  leaving.transport.destroy(new TransportError('cut', 'the network is gone'));
  await leaving.ended;
  t.equal(leaving.state.end, 'clean');
});

t.test('a transport that was closed before the relay began is an end too', async (t) => {
  const transport = new FakeTransport();
  transport.on('error', () => {});
  transport.destroy(new TransportError('cut', 'the network is gone'));
  await turn();
  const stdin = new PassThrough();
  const options = { stdin, stdout: new Stdout(), transport, clock: new ManualClock(), isOrphan: () => false };
  await t.rejects(relay({ ...options, signal: new AbortController().signal }), { code: 'cut' });
});

t.test('what was read is freed while a transfer runs', async (t) => {
  const args = ['--max-semi-space-size=1', resolve(import.meta.dirname, 'relay-heap.ts'), '100'];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  t.ok(
    Number(stdout) > 20,
    `V8 collected its young generation ${stdout} times for 100 MiB; 6 times by itself ${stderr}`,
  );
});
