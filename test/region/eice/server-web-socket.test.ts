// What an endpoint refuses of a client, frame by frame; the rest is seen by tunnel.test.ts through ws.
import { Duplex } from 'node:stream';
import t from 'tap';
import { ManualClock } from '../../manual-clock.ts';
import { objectionTo, ServerWebSocket } from './server-web-socket.ts';

const key = 'dGhlIHNhbXBsZSBub25jZQ==';
const asked = { upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': key };
const request = (headers: object, method = 'GET') =>
  ({ method, headers: { ...asked, ...headers } }) as unknown as Parameters<typeof objectionTo>[0];

/** What is said about bytes that come in the given pieces, and what is answered behind the 101. */
function read(chunks: Buffer[]) {
  const written: Buffer[] = [];
  const socket = new Duplex({
    read() {},
    write(chunk, _encoding, done) {
      written.push(chunk);
      done();
    },
  });
  const webSocket = new ServerWebSocket(request({}), socket, Buffer.alloc(0), {
    maxFrameBytes: 1_000,
    clock: new ManualClock(),
  });
  const seen: string[] = [];
  const parts: Buffer[] = [];
  webSocket.on('frame', (length) => seen.push(`frame ${length}`));
  webSocket.on('message', (part) => parts.push(Buffer.from(part)));
  for (const name of ['text', 'ping', 'pong'] as const) webSocket.on(name, () => seen.push(name));
  webSocket.on('broken', (why) => seen.push(why));
  for (const chunk of chunks) socket.emit('data', chunk);
  return { seen, bytes: Buffer.concat(parts).toString(), answer: Buffer.concat(written.slice(1)).toString('hex') };
}

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

t.test('an upgrade that is not plain is refused', async (t) => {
  t.equal(objectionTo(request({})), undefined);
  t.match(objectionTo(request({}, 'POST')), /method/);
  t.match(objectionTo(request({ upgrade: 'h2c' })), /h2c/);
  t.match(objectionTo(request({ 'sec-websocket-version': '8' })), /version/);
  t.match(objectionTo(request({ 'sec-websocket-key': 'c2hvcnQ=' })), /key/);
  t.match(objectionTo(request({ 'sec-websocket-extensions': 'permessage-deflate' })), /extension/);
  t.match(objectionTo(request({ 'sec-websocket-protocol': 'x' })), /subprotocol/);
});

t.test('the masked examples of RFC 6455, whole and byte by byte', async (t) => {
  // Section 5.7: "Hello" with the key 37 fa 21 3d, here as BINARY, in two frames around a ping.
  const message = '02 83 37fa213d 7f9f4d 89 85 37fa213d 7f9f4d5158 80 82 37fa213d 5b95';
  const expected = { seen: ['frame 3', 'ping', 'frame 2'], bytes: 'Hello', answer: '8a0548656c6c6f' };
  t.strictSame(read([hex(message)]), expected);
  t.strictSame(read([...hex(message)].map((byte) => Buffer.from([byte]))), expected);
  t.strictSame(read([hex('88 82 37fa213d 3412')]).answer, '880203e8', 'a close is answered with its code');
});

t.test('what breaks RFC 6455 ends it with a close frame that says so', async (t) => {
  const table: [string, string, RegExp, number][] = [
    ['a reserved bit', 'c2 80 00000000', /reserved/, 1002],
    ['no mask', '82 01 61', /masked/, 1002],
    ['an opcode that does not exist', '83 80 00000000', /opcode/, 1002],
    ['a fragmented ping', '09 80 00000000', /control/, 1002],
    ['a long ping', '89 fe 007e 00000000', /control/, 1002],
    ['a continuation of nothing', '80 80 00000000', /go on/, 1002],
    ['a message within a message', '02 80 00000000 82 80 00000000', /go on/, 1002],
    ['a length in too many bytes', '82 fe 0001 00000000 61', /too many bytes/, 1002],
    ['half a close code', '88 81 00000000 03', /half/, 1002],
    ['a frame above the limit', '82 fe 03e9 00000000', /over 1000/, 1009],
  ];
  for (const [name, bytes, why, code] of table) {
    const padded = bytes.length < 17 ? `${bytes} 00000000` : bytes;
    const { seen, answer } = read([hex(padded)]);
    t.match(seen.at(-1), why, name);
    t.equal(answer, `8802${code.toString(16).padStart(4, '0')}`, name);
  }
});
