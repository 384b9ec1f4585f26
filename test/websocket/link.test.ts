// What test/ssm/gateway.test.ts does not say of dialling and of a link: it is about the parts that EICE needs besides.
import { once } from 'node:events';
import { Agent, createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import t, { type Test } from 'tap';
import { dialWebSocket } from '../../src/websocket/dial.ts';
import { isLoopback } from '../../src/websocket/loopback.ts';
import { parseRefusal } from '../../src/websocket/refusal.ts';
import { createServerCertificate } from '../region/certificate.ts';
import { GatewayServer } from '../ssm/gateway-server.ts';
import { ManualClock } from '../ssm/manual-clock.ts';
import { until } from '../ssm/stage.ts';

async function scene(t: Test) {
  const server = await GatewayServer.listen();
  t.teardown(() => server.close());
  const clock = new ManualClock();
  const options = {
    url: `ws://127.0.0.1:${server.port}/x`,
    headers: {},
    clock,
    pingIntervalMs: 25_000,
    timeoutMs: 10_000,
  };
  const dial = async () => {
    const dialled = await dialWebSocket(options);
    if (dialled.outcome !== 'open') throw new Error(dialled.outcome);
    return dialled.link;
  };
  return { server, clock, options, dial };
}

t.test('a refusal and an unreachable host are values', async (t) => {
  const { server, clock, options } = await scene(t);
  server.onDial = (dial) => {
    dial.refuse(403, '{"ErrorCode":"AccessDenied","Message":"no"}');
    return 'handled';
  };
  t.strictSame(await dialWebSocket(options), {
    outcome: 'refused',
    status: 403,
    date: undefined,
    body: '{"ErrorCode":"AccessDenied","Message":"no"}',
  });
  t.match(await dialWebSocket({ ...options, url: 'ws://127.0.0.1:1/' }), {
    outcome: 'unreachable',
    why: /ECONNREFUSED/,
    cause: { code: 'ECONNREFUSED' },
  });
  t.match(await dialWebSocket({ ...options, signal: AbortSignal.abort() }), {
    outcome: 'unreachable',
    why: /given up/,
  });
  t.equal(clock.pending, 0);
});

t.test('a connection that was ready and has died is not waited for as long, and another one is made', async (t) => {
  const { ca, cert, key } = createServerCertificate(Date.now());
  const [dead, alive] = [createServer({ cert, key }), createServer({ cert, key })];
  let asked = 0;
  dead.on('upgrade', () => (asked += 1)); // never answered
  alive.on('upgrade', (_request, socket) => socket.end('HTTP/1.1 418 I am alive\r\nContent-Length: 0\r\n\r\n'));
  for (const server of [dead, alive]) {
    server.listen(0, '127.0.0.1');
    t.teardown(() => server.closeAllConnections());
    t.teardown(() => server.close());
    await once(server, 'listening');
  }
  const [deadPort, port] = [dead, alive].map((server) => (server.address() as AddressInfo).port);
  const ready = tlsConnect({ ca, host: 'localhost', port: deadPort! });
  await once(ready, 'secureConnect');
  let made = 0;
  class OnceReady extends Agent {
    override createConnection(...args: Parameters<Agent['createConnection']>) {
      made += 1;
      return made === 1 ? ready : super.createConnection(...args);
    }
  }
  const clock = new ManualClock();
  const agent = new OnceReady({ ca });
  const url = `wss://localhost:${port}/x`;
  const dialled = dialWebSocket({ url, headers: {}, agent, clock, pingIntervalMs: 25_000, timeoutMs: 10_000 });
  await until(() => asked === 1);
  await clock.advance(3_000);
  t.match(await dialled, { outcome: 'refused', status: 418 });
  t.equal(made, 2);
  t.ok(ready.destroyed);
  t.equal(clock.pending, 0);
});

t.test('the text of a refusal is found under the names that AWS uses, and made fit to be shown', async (t) => {
  const table: [string, ReturnType<typeof parseRefusal>][] = [
    ['{"ErrorCode":"InvalidParameter","Message":"bad"}', { code: 'InvalidParameter', text: 'bad' }],
    ['{"__type":"a.b#AccessDenied","message":"no"}', { code: 'a.b#AccessDenied', text: 'no' }],
    ['{"code":"X"}', { code: 'X', text: '' }],
    ['{"ErrorCode":"\\u001b[2J","Message":"a\\u0000b"}', { code: undefined, text: 'a b' }],
    ['{"ErrorCode":5}', { code: undefined, text: '' }],
    ['[1]', { code: undefined, text: '' }],
    ['plain\r\ntext', { code: undefined, text: 'plain text' }],
    ['', { code: undefined, text: '' }],
  ];
  for (const [body, refusal] of table) t.strictSame(parseRefusal(body), refusal, body);
});

t.test('after the upgrade all messages are read into one buffer, and told of a read at a time', async (t) => {
  const { server, dial } = await scene(t);
  const link = await dial();
  const buffers = new Set<ArrayBufferLike>();
  const events: string[] = [];
  link.start({
    message: (bytes) => {
      buffers.add(bytes.buffer);
      events.push(bytes.toString());
    },
    read: () => events.push('read'),
    drain() {},
    close() {},
  });
  for (const text of ['one', 'two', 'three']) {
    server.last.webSocket!.send(text);
    await until(() => events.at(-2) === text && events.at(-1) === 'read');
  }
  t.strictSame(events, ['one', 'read', 'two', 'read', 'three', 'read']);
  t.equal(buffers.size, 1, 'past the stream of this Node');
});

t.test('a string leaves as TEXT and bytes as BINARY, and it is told which of them came', async (t) => {
  const { server, dial } = await scene(t);
  const link = await dial();
  const seen: [string, boolean][] = [];
  link.start({ message: (bytes, isBinary) => seen.push([bytes.toString(), isBinary]), drain() {}, close() {} });
  link.send('text');
  link.send(Buffer.from('bytes'));
  await until(() => server.last.received.length === 2);
  t.strictSame(server.last.received, ['text', Buffer.from('bytes')]);
  server.last.webSocket!.send('text');
  server.last.webSocket!.send(Buffer.from('bytes'));
  await until(() => seen.length === 2);
  t.strictSame(seen, [
    ['text', false],
    ['bytes', true],
  ]);
  await link.close();
});

t.test('while it is paused little is read, the peer is held back, and nothing is lost', async (t) => {
  const { server, dial } = await scene(t);
  const link = await dial();
  let bytes = 0;
  link.start({ message: ({ length }) => (bytes += length), drain() {}, close() {} });
  link.pause();
  const peer = server.last.webSocket!;
  const total = 64 * 2 ** 20;
  for (let sent = 0; sent < total; sent += 2 ** 16) peer.send(Buffer.alloc(2 ** 16));
  for (let count = 0; count < 50; count++) await new Promise((resolve) => setImmediate(resolve));
  t.ok(bytes <= 2 * 2 ** 16, `${bytes} bytes came`);
  t.ok(peer.bufferedAmount > total / 2, 'the peer still has most of it');
  link.resume();
  await until(() => bytes === total);
  await link.close();
});

t.test('silence while nothing is read is not taken for death, and what comes after is', async (t) => {
  const { server, clock, dial } = await scene(t);
  const link = await dial();
  let isLost = false;
  link.start({ message() {}, drain() {}, close: () => (isLost = true) });
  server.last.socket.pause(); // so no pong
  link.pause();
  clock.advance(10 * 60_000);
  t.equal(link.isOpen, true);
  link.resume();
  clock.advance(39_999);
  t.equal(link.isOpen, true);
  clock.advance(1);
  t.equal(link.isOpen, false);
  await until(() => isLost);
  t.equal(clock.pending, 0);
});

t.test('a message of empty parts without end closes the link, and a whole one of many parts comes', async (t) => {
  const { server, dial } = await scene(t);
  const messages: number[] = [];
  const link = await dial();
  const ended = new Promise<{ code: number | undefined }>((resolve) => {
    link.start({ message: (bytes) => messages.push(bytes.length), drain: () => {}, close: resolve });
  });
  await until(() => server.last.webSocket !== undefined);
  const send = (part: string, fin: boolean) => server.last.webSocket!.send(part, { fin, binary: true });
  for (let n = 0; n < 1_000; n++) send('x', false);
  send('x', true);
  await until(() => messages.length === 1);
  t.equal(messages[0], 1_001);
  for (let n = 0; n < 5_000; n++) send('', false);
  await ended;
  t.equal(server.last.closeCode, 1008);
  t.equal(messages.length, 1);
});

t.test('the round trip is that of the last ping', async (t) => {
  const { server, clock, dial } = await scene(t);
  server.answersPings = false;
  const link = await dial();
  link.start({ message() {}, drain() {}, close() {} });
  t.equal(link.roundTripMs, undefined);
  clock.advance(25_000);
  await until(() => server.last.pings.length === 1);
  clock.advance(120);
  server.last.webSocket!.pong();
  await until(() => link.roundTripMs !== undefined);
  t.equal(link.roundTripMs, 120);
  await link.close();
});

t.test('a paused link can be closed, and says that what was sent has left', async (t) => {
  const { server, clock, dial } = await scene(t);
  const link = await dial();
  link.start({ message() {}, drain() {}, close() {} });
  link.send(Buffer.from('last words'));
  link.pause();
  server.last.webSocket!.send(Buffer.alloc(100_000));
  t.equal(await link.close(), true);
  await until(() => server.last.closeCode !== undefined);
  t.strictSame(server.last.binary, [Buffer.from('last words')]);
  t.equal(server.last.closeCode, 1000);
  t.equal(clock.pending, 0);
});

t.test('a close whose time is over says that something of what was sent is left', async (t) => {
  const { server, clock, dial } = await scene(t);
  const link = await dial();
  link.start({ message() {}, drain() {}, close() {} });
  server.last.socket.pause();
  for (let count = 0; count < 1_000 && link.hasRoom; count++) {
    link.send(Buffer.alloc(2 ** 20));
    await new Promise((resolve) => setImmediate(resolve));
  }
  const closing = link.close(900);
  clock.advance(899);
  t.equal(await Promise.race([closing, new Promise((resolve) => setImmediate(resolve, 'open'))]), 'open');
  clock.advance(1);
  t.equal(await closing, false);
  t.equal(clock.pending, 0);
});

t.test('loopback is this machine and no name that only looks like it', async (t) => {
  for (const host of ['localhost', 'a.localhost', '127.0.0.1', '127.9.9.9', '[::1]']) t.ok(isLoopback(host), host);
  for (const host of ['127.0.0.1.example.com', 'localhost.example.com', '128.0.0.1', '[::2]', '0.0.0.0', '']) {
    t.notOk(isLoopback(host), host);
  }
});
