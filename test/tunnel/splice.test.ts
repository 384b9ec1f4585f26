// A local connection joined with a far one, which is played here: what each end does, and what the other one sees of it.
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import t, { type Test } from 'tap';
import { TransportError } from '../../src/errors.ts';
import { Splice } from '../../src/tunnel/splice.ts';
import { ManualClock } from '../manual-clock.ts';
import { socketPairs } from '../unix-sockets.ts';

/** The far side: `end()` closes both ways, as no way to a target has a half-close. */
class Remote extends Duplex {
  heard = '';
  ended = false;
  /** What was written is still being delivered. */
  delivering: Promise<void> | undefined;

  constructor() {
    super({ allowHalfOpen: true });
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.heard += chunk;
    done();
  }

  override _final(done: () => void): void {
    this.ended = true;
    void (this.delivering ?? Promise.resolve()).then(() => {
      this.push(null);
      done();
    });
  }
}

async function join(t: Test) {
  const { client, server: local } = await (await socketPairs(t))();
  const clock = new ManualClock();
  const remote = new Remote();
  const state = { gone: false };
  const splice = new Splice({ local, remote, clock, isLocalGone: () => state.gone });
  let received = '';
  let closed = false;
  client.on('data', (chunk: Buffer) => {
    received += chunk;
  });
  client.on('error', () => {});
  client.on('close', () => {
    closed = true;
  });
  return { client, local, clock, remote, splice, state, received: () => received, closed: () => closed };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

t.test('bytes go both ways and are counted; the server closes, and so it is for the client', async (t) => {
  const { client, remote, splice, received, closed } = await join(t);
  client.write('question');
  await until(() => remote.heard === 'question');
  remote.push('answer');
  remote.push(null);
  await until(() => received() === 'answer' && client.readableEnded);
  client.end();
  t.equal(await splice.done, undefined);
  await until(closed);
  t.same([splice.bytesSent, splice.bytesReceived], [8, 6]);
});

t.test(
  'a client that shuts down its writing side early gets the answer, and the server no end of file before',
  async (t) => {
    const { client, remote, splice, clock, received } = await join(t);
    client.end('question');
    await until(() => remote.heard === 'question');
    await clock.advance(20_000);
    t.notOk(remote.ended);
    remote.push('late answer');
    await until(() => received() === 'late answer');
    await clock.advance(29_000);
    t.notOk(remote.ended, 'counted from the last word');
    remote.push(null);
    t.equal(await splice.done, undefined);
  },
);

t.test('when nothing comes for long the server gets the end of file', async (t) => {
  const { client, remote, splice, clock } = await join(t);
  client.end('upload');
  await until(() => remote.heard === 'upload');
  await clock.advance(30_500);
  t.ok(remote.ended);
  t.equal(await splice.done, undefined);
});

t.test('a client that is found gone ends the far side at once', async (t) => {
  const { client, remote, splice, clock, state } = await join(t);
  client.end('last words');
  await until(() => remote.heard === 'last words');
  state.gone = true;
  await clock.advance(500);
  t.ok(remote.ended);
  await splice.done;
});

t.test('a client that is gone while what it has said is still being delivered', async (t) => {
  for (const how of ['end', 'reset']) {
    const { client, local, remote, splice, state } = await join(t);
    const { promise, resolve } = Promise.withResolvers<void>();
    remote.delivering = promise;
    remote.on('error', () => {});
    client.write('last words');
    await until(() => remote.heard === 'last words');
    state.gone = true;
    if (how === 'reset') local.write(Buffer.alloc(1_000_000));
    client.destroy();
    await until(() => local.closed);
    resolve();
    t.equal(await splice.done, undefined);
    t.ok(remote.closed, how);
  }
});

t.test('a client on a unix socket that has closed both ways is found by a write of nothing', async (t) => {
  const { client, remote, splice, clock } = await join(t);
  client.destroy();
  await until(() => {
    clock.advance(500);
    return remote.ended || remote.destroyed;
  });
  await splice.done;
});

t.test('a failure of the far side closes the client, and is told', async (t) => {
  const { client, remote, splice } = await join(t);
  remote.destroy(new TransportError('session-ended', 'AWS has ended the session'));
  t.match(await splice.done, { code: 'session-ended' });
  await until(() => client.readableEnded);
});

t.test('a far side that was gone before it was joined is found', async (t) => {
  const { client, server: local } = await (await socketPairs(t))();
  client.on('error', () => {});
  const remote = new Remote();
  remote.on('error', () => {});
  remote.destroy();
  await once(remote, 'close');
  const splice = new Splice({ local, remote, clock: new ManualClock(), isLocalGone: () => false });
  await splice.done;
  t.ok(local.destroyed);
});
