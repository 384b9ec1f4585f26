import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/clock.ts';
import { leastPieceBytes, PieceSocket } from '../../src/daemon/piece-socket.ts';
import { shortFolder } from '../unix-sockets.ts';
import { until } from './stage.ts';

async function setUp(t: Test) {
  const time = { ms: 0 };
  const clock = { ...systemClock, now: () => time.ms };
  const path = join(shortFolder(t), 'control.sock');
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  server.listen(path);
  await once(server, 'listening');
  const peer = connect({ path, allowHalfOpen: true });
  const [accepted] = (await once(server, 'connection')) as [Socket];
  const socket = PieceSocket.replace(accepted, clock) as PieceSocket;
  t.teardown(() => {
    peer.destroy();
    socket.destroy();
    server.close();
  });
  return { time, server, peer, accepted, socket };
}

const all = Buffer.from(Array.from({ length: 600_000 }, (_, at) => (at * 7 + (at >> 8)) & 0xff));

t.test('on a slow way little is read ahead, and nothing is lost or out of order', async (t) => {
  const { time, peer, socket } = await setUp(t);
  peer.end(all);
  const parts: Buffer[] = [];
  let most = 0;
  let length = 0;
  socket.on('readable', () => {}); // taken below
  while (length < all.length) {
    await until('bytes', () => socket.readableLength > 0);
    most = Math.max(most, socket.readableLength);
    const part = socket.read(Math.min(5_000, socket.readableLength)) as Buffer;
    parts.push(part);
    length += part.length;
    time.ms += 10; // 500 KB/s
    await new Promise(setImmediate);
  }
  t.ok(Buffer.concat(parts).equals(all));
  t.ok(most <= 2 * leastPieceBytes, `${most}`);
});

t.test('what is read is offered first, unless something waits, and nothing is lost or out of order', async (t) => {
  const { peer, socket } = await setUp(t);
  const parts: Buffer[] = [];
  let offers = 0;
  let taken = 0;
  socket.taker = (piece) => {
    t.equal(socket.readableLength, 0, 'nothing is overtaken');
    offers += 1;
    if (offers % 3 === 0) return false;
    taken += 1;
    parts.push(piece);
    return true;
  };
  socket.on('readable', () => {}); // taken below, not at once
  const ended = once(socket, 'end');
  let isOver = false;
  void ended.then(() => {
    isOver = true;
  });
  const sent = all.subarray(0, 100_000);
  for (let turn = 0; !isOver; turn++) {
    // Little at a time, so that it is read on while some of it waits.
    if (turn * 500 < sent.length) peer.write(sent.subarray(turn * 500, (turn + 1) * 500));
    else peer.end();
    await new Promise(setImmediate);
    const part = turn % 4 === 0 ? (socket.read() as Buffer | null) : null;
    if (part !== null) parts.push(part);
  }
  t.ok(Buffer.concat(parts).equals(sent));
  t.ok(taken > 10 && taken < offers, `${taken} of ${offers}`);
});

t.test('without a taker, or when it has gone, all waits in the stream', async (t) => {
  const { peer, socket } = await setUp(t);
  const offered: string[] = [];
  socket.taker = (piece) => offered.push(piece.toString()) > 0;
  socket.on('readable', () => {});
  peer.write('one');
  await until('one', () => offered.length === 1);
  t.equal(socket.readableLength, 0);
  socket.taker = undefined;
  peer.write('two');
  await until('two', () => socket.readableLength === 3);
  t.equal(String(socket.read()), 'two');
  t.strictSame(offered, ['one']);
});

t.test('on a fast one a read brings as much as Node reads', async (t) => {
  const { time, peer, socket } = await setUp(t);
  peer.end(all);
  const parts: Buffer[] = [];
  socket.on('data', (part: Buffer) => {
    parts.push(part);
    time.ms += 1;
  });
  await once(socket, 'end');
  t.ok(Buffer.concat(parts).equals(all));
  const most = Math.max(...parts.map(({ length }) => length));
  t.ok(most > 32 * 1024, `${most}`);
});

t.test('it pauses, takes back, goes on, writes and ends as any socket', async (t) => {
  const { server, peer, accepted, socket } = await setUp(t);
  peer.write('one');
  const [one] = await once(socket, 'data');
  socket.pause();
  socket.unshift(one);
  peer.write('two');
  await new Promise((resolve) => setTimeout(resolve, 20));
  let text = '';
  socket.on('data', (part) => {
    text += part;
  });
  socket.resume();
  await until('both', () => text === 'onetwo');
  socket.end('three');
  const [three] = await once(peer, 'data');
  t.equal(String(three), 'three');
  peer.end();
  await once(socket, 'close');
  server.close();
  await once(server, 'close');
  t.ok(accepted.destroyed, 'the server counts it no more');
});

t.test('where Node has changed inside, the accepted socket does', async (t) => {
  for (const inside of [{}, { _handle: null }, { _handle: {} }]) {
    let resumed = 0;
    const accepted = { ...inside, resume: () => (resumed += 1) };
    PieceSocket.replace(accepted as unknown as Socket, systemClock);
    t.equal(resumed, 1);
  }
});
