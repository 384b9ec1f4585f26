// A server that does everything wrong: answers to the upgrade, frames in any pieces, ends of any kind. What is asked of the link
// is that it reads what RFC 6455 allows, ends on what it does not, and keeps memory and time bounded.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import t, { type Test } from 'tap';
import { dialWebSocket } from '../../src/websocket/dial.ts';
import { type LinkEnd, type LinkOptions, WebSocketLink } from '../../src/websocket/link.ts';
import { ManualClock } from '../ssm/manual-clock.ts';
import { until } from '../ssm/stage.ts';

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

/** Answers each upgrade with what `answer` makes of the right Sec-WebSocket-Accept. */
async function serve(t: Test, answer: (socket: Socket, accept: string) => void) {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (request) => {
      const key = /^sec-websocket-key: (.+)\r$/im.exec(request.toString())?.[1];
      const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
      answer(socket, accept);
    });
    t.teardown(() => socket.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const clock = new ManualClock();
  const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  return () => dialWebSocket({ url, headers: {}, clock, pingIntervalMs: 25_000, timeoutMs: 10_000 });
}

const upgrade = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n';

t.test('which answers to the upgrade are a websocket', async (t) => {
  const table: [string, (accept: string) => string, 'open' | 'refused' | RegExp][] = [
    ['the usual one', (accept) => `${upgrade}Sec-WebSocket-Accept: ${accept}\r\n\r\n`, 'open'],
    [
      'other letters, more tokens, more headers',
      (accept) =>
        `HTTP/1.1 101 ok\r\nUPGRADE: WebSocket\r\nconnection: keep-alive, UPGRADE\r\nx: y\r\nsec-websocket-ACCEPT:${accept}  \r\n\r\n`,
      'open',
    ],
    [
      'other news first',
      (accept) => `HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n${upgrade}Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
      'open',
    ],
    ['no Accept', () => `${upgrade}\r\n`, /somebody else/],
    ['another Accept', () => `${upgrade}Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n`, /somebody else/],
    [
      'two of them',
      (a) => `${upgrade}Sec-WebSocket-Accept: ${a}\r\nSec-WebSocket-Accept: ${a}\r\n\r\n`,
      /somebody else/,
    ],
    [
      'an extension',
      (a) => `${upgrade}Sec-WebSocket-Accept: ${a}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n`,
      /not asked for/,
    ],
    [
      'a subprotocol',
      (a) => `${upgrade}Sec-WebSocket-Accept: ${a}\r\nSec-WebSocket-Protocol:\r\n\r\n`,
      /not asked for/,
    ],
    [
      'another upgrade',
      (a) => `HTTP/1.1 101 x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${a}\r\n\r\n`,
      /something else/,
    ],
    ['headers without end', () => `${upgrade}x: ${'y'.repeat(100_000)}`, /./],
    ['what is no HTTP', () => 'SSH-2.0-x\r\n', /./],
    ['a page', () => 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi', 'refused'],
    ['a page without end', () => `HTTP/1.1 503 no\r\n\r\n${'x'.repeat(100_000)}`, 'refused'],
  ];
  for (const [name, answer, expected] of table) {
    const dial = await serve(t, (socket, accept) => socket.write(answer(accept)));
    const dialled = await dial();
    if (dialled.outcome === 'open') dialled.link.destroy();
    const found = dialled.outcome === 'unreachable' ? dialled.why : dialled.outcome;
    t.match(found, expected, name);
  }
});

t.test('a 101 that does not say what it upgrades to is no websocket', async (t) => {
  for (const header of ['Upgrade: websocket', 'Connection: Upgrade']) {
    const dial = await serve(t, (socket, accept) =>
      socket.end(`HTTP/1.1 101 x\r\n${header}\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`),
    );
    t.not((await dial()).outcome, 'open', header);
  }
});

t.test('frames right behind the answer are read, wherever they are cut', async (t) => {
  const frames = hex('89 02 6869 82 03 616263 02 01 64 80 01 65 88 02 03e8');
  let cut = 0;
  const dial = await serve(t, (socket, accept) => {
    const all = Buffer.concat([Buffer.from(`${upgrade}Sec-WebSocket-Accept: ${accept}\r\n\r\n`), frames]);
    socket.setNoDelay(true);
    socket.write(all.subarray(0, all.length - cut));
    setImmediate(() => socket.end(all.subarray(all.length - cut)));
  });
  for (cut = 0; cut <= frames.length; cut++) {
    const dialled = await dial();
    if (dialled.outcome !== 'open') throw new Error(dialled.outcome);
    const seen: string[] = [];
    const { link } = dialled;
    const end = await new Promise<LinkEnd>((close) =>
      link.start({ message: (bytes) => seen.push(bytes.toString()), drain() {}, close }),
    );
    t.strictSame([seen, end], [['abc', 'de'], { code: 1000, reason: '' }], `${cut} bytes later`);
  }
});

/** The socket under a link, in memory: what is pushed is read, and what is written stays until `take`. */
class Wire extends Duplex {
  readonly written: Buffer[] = [];
  #takes = true;
  #waiting: (() => void) | undefined;

  override _read(): void {}
  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.written.push(Buffer.from(chunk));
    if (this.#takes) done();
    else this.#waiting = done;
  }
  /** The peer stops or begins to read. */
  set takes(takes: boolean) {
    this.#takes = takes;
    const done = this.#waiting;
    if (!takes || done === undefined) return;
    this.#waiting = undefined;
    done();
  }
  setTimeout(): void {}
  setNoDelay(): void {}
}

function scene(options: Partial<LinkOptions> = {}) {
  const clock = new ManualClock();
  const wire = new Wire();
  const link = new WebSocketLink(wire as unknown as Socket, Buffer.alloc(0), {
    clock,
    pingIntervalMs: 25_000,
    ...options,
  });
  const seen: string[] = [];
  let end: LinkEnd | undefined;
  link.start({
    message: (bytes) => seen.push(bytes.toString()),
    drain() {},
    close: (closed) => {
      end = closed;
    },
  });
  return { clock, wire, link, seen, ended: () => end, frames: () => wire.written.map(unmask) };
}

/** A frame of the client, as opcode and payload. */
function unmask(frame: Buffer): string {
  const at = (frame[1]! & 0x7f) < 126 ? 2 : 4;
  const payload = frame.subarray(at + 4).map((byte, index) => byte ^ frame[at + (index & 3)]!);
  return `${frame[0]!.toString(16)} ${Buffer.from(payload).toString('hex')}`.trim();
}

t.test('what breaks RFC 6455 is answered with its code, told, and nothing behind it is read', async (t) => {
  const table: [string, string, string, RegExp][] = [
    ['a reserved bit', 'c2 01 61', '88 03ea', /reserved/],
    ['a length in too many bytes', '82 7e 0001 61', '88 03ea', /more bytes/],
    ['another one', '82 7f 0000000000000001 61', '88 03ea', /more bytes/],
    ['a length without end', '82 7f ffffffffffffffff', '88 03f1', /too long/],
    ['a close code of nobody', '88 02 03ee', '88 03ea', /code/],
  ];
  for (const [name, bytes, answer, why] of table) {
    const { clock, wire, seen, ended, frames } = scene();
    wire.push(hex(`82 01 78 ${bytes} 82 01 79`));
    await until(() => wire.writableFinished);
    t.strictSame(seen, ['x'], name);
    t.strictSame(frames(), [answer], name);
    wire.push(hex('82 01 7a'));
    wire.push(null);
    await until(() => ended() !== undefined);
    t.match(ended(), { code: undefined, reason: why }, name);
    t.strictSame(seen, ['x'], name);
    t.equal(clock.pending, 0);
  }
});

t.test('a peer that answers no close frame, or does not end, is left in time', async (t) => {
  const ours = scene();
  const closing = ours.link.close(900);
  ours.wire.push(hex('82 01 61')); // may still come
  await until(() => ours.seen.length === 1);
  ours.clock.advance(900);
  t.equal(await closing, true);
  await until(() => ours.ended() !== undefined);
  t.match([ours.seen, ours.ended(), ours.frames()], [['a'], { code: undefined }, ['88 03e8']]);

  const theirs = scene();
  theirs.wire.push(hex('88 05 1387 627965 82 01 61'));
  await until(() => theirs.wire.writableFinished);
  t.strictSame(theirs.frames(), ['88 1387'], 'the close frame is answered with its code');
  theirs.clock.advance(499);
  t.equal(theirs.ended(), undefined);
  theirs.clock.advance(1);
  await until(() => theirs.ended() !== undefined);
  t.strictSame([theirs.seen, theirs.ended()], [[], { code: 4999, reason: 'bye' }]);
  t.equal(ours.clock.pending + theirs.clock.pending, 0);
});

t.test('a connection that ends without a close frame is lost', async (t) => {
  const { wire, ended, seen, clock } = scene();
  wire.push(hex('82 05 61'));
  wire.push(null);
  await until(() => ended() !== undefined);
  t.strictSame([seen, ended()], [[], { code: undefined, reason: '' }]);
  t.equal(clock.pending, 0);
});

t.test('a peer that pings and does not read fills no memory, and is answered once it reads', async (t) => {
  const { wire, link, frames } = scene();
  wire.takes = false;
  while (link.hasRoom) link.send(Buffer.alloc(2 ** 16));
  const before = wire.writableLength;
  const ping = Buffer.concat([hex('89 7d'), Buffer.alloc(125, 1)]);
  for (let count = 0; count < 10_000; count++) wire.push(ping);
  wire.push(hex('89 04 6c617374'));
  await until(() => wire.readableLength === 0);
  t.equal(wire.writableLength, before);
  wire.takes = true;
  await until(() => frames().at(-1) === '8a 6c617374');
  t.equal(frames().filter((frame) => frame.startsWith('8a')).length, 1, 'the last ping is answered');
});

t.test('a link that its reader drops in the middle of a chunk says no more', async (t) => {
  for (const pieces of [false, true]) {
    const { wire, link, seen, ended } = scene({ pieces });
    const { push } = seen;
    seen.push = (text) => {
      link.destroy();
      return push.call(seen, text);
    };
    wire.push(hex('82 01 61 82 01 62 82 01 63'));
    await until(() => ended() !== undefined);
    t.strictSame(seen, ['a']);
  }
});

t.test('a pause holds in the middle of what was read already, and nothing is lost by it', async (t) => {
  const { wire, link, seen } = scene();
  link.pause();
  wire.push(hex('82 01 61'));
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  t.strictSame(seen, []);
  link.resume();
  await until(() => seen.length === 1);
});
