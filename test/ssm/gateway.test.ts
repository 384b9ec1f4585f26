import { Agent } from 'node:http';
import { connect as connectTcp, createServer as createTcpServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import type { WebSocket } from 'ws';
import { type DialOptions, dialGateway, type GatewaySocket } from '../../src/ssm/gateway.ts';
import { type Dial, GatewayServer } from './gateway-server.ts';
import { ManualClock } from './manual-clock.ts';
import { until } from './stage.ts';

interface Scene {
  gateway: GatewayServer;
  clock: ManualClock;
  options: DialOptions;
}

async function scene(t: Test): Promise<Scene> {
  const gateway = await GatewayServer.listen();
  t.teardown(() => gateway.close());
  const clock = new ManualClock();
  const options: DialOptions = {
    streamUrl: `ws://127.0.0.1:${gateway.port}/v1/data-channel/x?role=publish_subscribe`,
    headers: {},
    openDataChannel: { requestId: 'r', tokenValue: 't', clientId: 'c', clientVersion: '1.2.896.0' },
    clock,
    pingIntervalMs: 25_000,
    timeoutMs: 15_000,
  };
  return { gateway, clock, options };
}

interface Seen {
  messages: string[];
  end: { code: number | undefined; reason: string } | undefined;
}

function watch(socket: GatewaySocket): Seen {
  const seen: Seen = { messages: [], end: undefined };
  socket.start({
    message: (bytes) => seen.messages.push(bytes.toString()),
    drain: () => {},
    close: (end) => {
      seen.end = end;
    },
  });
  return seen;
}

t.test('path and query go on the wire byte for byte, and no extension is offered', async (t) => {
  const { gateway, options } = await scene(t);
  for (const path of [
    '/v1/data-channel/alice@example.com-0123?role=publish_subscribe&cell-number=AAEAATf2ktZ+bscw/Vmu=',
    '/v1/data-channel/a%2Fb+c=d?x=%7E~&y="|\'{}[]^`<>',
    '/v1/../v1//data-channel/./x',
    '/?',
    '',
  ]) {
    const socket = await dialGateway({ ...options, streamUrl: `ws://127.0.0.1:${gateway.port}${path}` });
    t.equal(gateway.last.request.url, path || '/');
    socket.destroy();
  }
  const { headers, httpVersion, method } = gateway.last.request;
  t.equal(`${method} ${httpVersion}`, 'GET 1.1');
  t.strictSame(Object.keys(headers).sort(), [
    'connection',
    'host',
    'sec-websocket-key',
    'sec-websocket-version',
    'upgrade',
  ]);
  t.equal(headers.host, `127.0.0.1:${gateway.port}`);
});

t.test('the given headers are sent, and OpenDataChannel comes first, as TEXT', async (t) => {
  const { gateway, options } = await scene(t);
  const headers = { Authorization: 'AWS4-HMAC-SHA256 x', 'X-Amz-Security-Token': 'SESSIONTOKEN/+==' };
  const socket = await dialGateway({ ...options, headers });
  socket.send(Buffer.from('first'));
  await until(() => gateway.last.received.length === 2);
  t.match(gateway.last.request.headers, {
    authorization: 'AWS4-HMAC-SHA256 x',
    'x-amz-security-token': 'SESSIONTOKEN/+==',
  });
  t.equal(
    gateway.last.received[0],
    '{"MessageSchemaVersion":"1.0","RequestId":"r","TokenValue":"t","ClientId":"c","ClientVersion":"1.2.896.0"}',
  );
  t.strictSame(gateway.last.received[1], Buffer.from('first'));
  socket.destroy();
});

t.test('messages that come with the upgrade wait for the reader; text and binary are both taken', async (t) => {
  const { gateway, options } = await scene(t);
  gateway.onOpen = (dial) => {
    dial.webSocket!.send('text');
    dial.send(Buffer.from('binary'));
    dial.webSocket!.close(1000, 'Bye');
  };
  const socket = await dialGateway(options);
  await until(() => gateway.last.received.length === 1);
  const seen = watch(socket);
  await until(() => seen.end !== undefined);
  t.strictSame(seen, { messages: ['text', 'binary'], end: { code: 1000, reason: 'Bye' } });
});

t.test('a connection lost without a close frame has no code', async (t) => {
  const { gateway, clock, options } = await scene(t);
  const seen = watch(await dialGateway(options));
  await until(() => gateway.last.received.length === 1);
  gateway.last.socket.resetAndDestroy();
  await until(() => seen.end !== undefined);
  t.equal(seen.end!.code, undefined);
  t.equal(clock.pending, 0);
});

t.test('a loss before the reader came is told to it', async (t) => {
  const { gateway, options } = await scene(t);
  const socket = await dialGateway(options);
  socket.destroy();
  await until(() => gateway.last.isGone);
  const seen = watch(socket);
  await until(() => seen.end !== undefined);
  t.equal(seen.end!.code, undefined);
});

t.test('a message above 4 MiB is not taken', async (t) => {
  const { gateway, options } = await scene(t);
  for (const [bytes, isTaken] of [
    [4 * 2 ** 20, true],
    [4 * 2 ** 20 + 1, false],
  ] as const) {
    const seen = watch(await dialGateway(options));
    await until(() => gateway.last.received.length === 1);
    gateway.last.send(Buffer.alloc(bytes));
    await until(() => seen.messages.length > 0 || seen.end !== undefined);
    t.equal(seen.messages.length === 1, isTaken);
    gateway.last.socket.destroy();
    await until(() => seen.end !== undefined);
  }
});

t.test('a refusal by HTTP is shown with its text, short and printable', async (t) => {
  const { gateway, clock, options } = await scene(t);
  const table: [number, string, RegExp, boolean][] = [
    [403, '{"message":"Signature expired: 20260102T030405Z"}', /HTTP 403: Signature expired: 20260102T030405Z$/, false],
    [400, '{"ErrorCode":"InvalidParameter","Message":"no such cell"}', /HTTP 400: no such cell$/, false],
    [401, '<html>\r\n\u001b[2Jdenied\u009b</html>', /HTTP 401: <html> \[2Jdenied <\/html>$/, false],
    [404, '', /HTTP 404$/, false],
    [403, '{"message":{"toString":1}}', /HTTP 403/, false],
    [403, 'null', /HTTP 403/, false],
    [429, 'x', /HTTP 429: x$/, true],
    [500, 'y'.repeat(100_000), /HTTP 500: y{300}$/, true],
    [503, '{"message":"Service Unavailable"}', /HTTP 503: Service Unavailable$/, true],
  ];
  for (const [status, body, message, retryable] of table) {
    gateway.onDial = (dial) => {
      dial.refuse(status, body);
      return 'handled';
    };
    await t.rejects(dialGateway(options), { code: 'gateway-refused', message, retryable }, `${status}`);
    await until(() => gateway.last.isGone);
  }
  t.equal(clock.pending, 0);
});

t.test('a redirect is a refusal and not followed', async (t) => {
  const { gateway, options } = await scene(t);
  gateway.onDial = (dial) => {
    dial.socket.end(`HTTP/1.1 302 Found\r\nLocation: ${options.streamUrl}\r\nContent-Length: 0\r\n\r\n`);
    return 'handled';
  };
  await t.rejects(dialGateway(options), { code: 'gateway-refused', message: /HTTP 302/ });
  t.equal(gateway.dials.length, 1);
});

t.test('what is no websocket is unreachable, and worth another try', async (t) => {
  const { gateway, clock, options } = await scene(t);
  const answers: [string, (dial: Dial) => void][] = [
    ['garbage', (dial) => dial.socket.end('SSH-2.0-OpenSSH_9.6\r\n')],
    ['a reset', (dial) => dial.socket.resetAndDestroy()],
    ['an end', (dial) => dial.socket.end()],
    [
      'a wrong key',
      (dial) =>
        dial.socket.end(
          'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n',
        ),
    ],
  ];
  for (const [name, answer] of answers) {
    gateway.onDial = (dial) => {
      answer(dial);
      return 'handled';
    };
    await t.rejects(dialGateway(options), { code: 'gateway-unreachable', retryable: true }, name);
  }
  await t.rejects(dialGateway({ ...options, streamUrl: 'ws://127.0.0.1:1/' }), {
    code: 'gateway-unreachable',
    message: /127\.0\.0\.1:1 can't be reached: .*ECONNREFUSED/,
  });
  t.equal(clock.pending, 0);
});

t.test('an upgrade that is never answered is given up in time, also where it trickles', async (t) => {
  const { gateway, clock, options } = await scene(t);
  for (const trickle of [
    '',
    'HTTP/1.1 101 Switching Protocols\r\nX-',
    'HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nhalf',
  ]) {
    gateway.onDial = (dial) => {
      dial.socket.write(trickle);
      return 'handled';
    };
    const before = gateway.dials.length;
    const dialled = dialGateway(options);
    dialled.catch(() => {});
    await until(() => gateway.dials.length > before);
    clock.advance(14_999);
    t.equal(clock.pending, 1);
    clock.advance(1);
    await t.rejects(dialled, { code: 'gateway-unreachable', message: /no answer within 15 s/, retryable: true });
    await until(() => gateway.last.isGone);
    t.equal(clock.pending, 0);
  }
});

t.test('a connection that is never made is given up in time', async (t) => {
  const { clock, options } = await scene(t);
  const sockets: Socket[] = [];
  const server = createTcpServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  await until(() => server.listening);
  const { port } = server.address() as { port: number };
  const dialled = dialGateway({ ...options, streamUrl: `wss://127.0.0.1:${port}/` }); // TLS that nobody answers
  dialled.catch(() => {});
  await until(() => sockets.length === 1);
  clock.advance(15_000);
  await t.rejects(dialled, { code: 'gateway-unreachable', message: /no answer/ });
});

t.test('giving up drops the connection, before and while it is made', async (t) => {
  const { gateway, clock, options } = await scene(t);
  await t.rejects(dialGateway({ ...options, signal: AbortSignal.abort() }), { message: /given up/ });
  gateway.onDial = () => 'handled';
  const abort = new AbortController();
  const dialled = dialGateway({ ...options, signal: abort.signal });
  await until(() => gateway.dials.length === 1);
  abort.abort();
  await t.rejects(dialled, { code: 'gateway-unreachable', message: /given up/ });
  await until(() => gateway.last.isGone);
  t.equal(clock.pending, 0);
});

t.test('an abort after the dial has no effect on the socket', async (t) => {
  const { gateway, options } = await scene(t);
  const abort = new AbortController();
  const socket = await dialGateway({ ...options, signal: abort.signal });
  abort.abort();
  t.equal(socket.isOpen, true);
  socket.send(Buffer.from('x'));
  await until(() => gateway.last.received.length === 2);
  socket.destroy();
});

t.test('pings go at every interval with the payload of the reference', async (t) => {
  const { gateway, clock, options } = await scene(t);
  const socket = await dialGateway(options);
  const seen = watch(socket);
  await until(() => gateway.last.received.length === 1);
  for (let count = 1; count <= 4; count++) {
    clock.advance(24_999);
    t.equal(gateway.last.pings.length, count - 1);
    clock.advance(1);
    await until(() => gateway.last.pings.length === count);
    gateway.last.webSocket!.send('alive');
    await until(() => seen.messages.length === count);
  }
  t.strictSame(gateway.last.pings, Array(4).fill('keepalive'));
  socket.destroy();
});

t.test('a connection without any sign of life is dropped 15 s after its ping', async (t) => {
  const { gateway, clock, options } = await scene(t);
  const seen = watch(await dialGateway(options));
  await until(() => gateway.last.received.length === 1);
  gateway.last.socket.pause(); // so no pong
  clock.advance(39_999);
  t.equal(seen.end, undefined);
  clock.advance(1);
  await until(() => seen.end !== undefined);
  t.equal(seen.end!.code, undefined);
  t.equal(clock.pending, 0);
});

t.test('any frame is a sign of life', async (t) => {
  const { gateway, clock, options } = await scene(t);
  gateway.answersPings = false;
  let raw: Socket | undefined;
  const agent = new Agent();
  agent.createConnection = (({ port }: { port: number }) => {
    raw = connectTcp(port, '127.0.0.1');
    return raw;
  }) as typeof agent.createConnection;
  const signs: [string, (webSocket: WebSocket) => void][] = [
    ['text', (webSocket) => webSocket.send('x')],
    ['binary', (webSocket) => webSocket.send(Buffer.alloc(1))],
    ['ping', (webSocket) => webSocket.ping()],
    ['pong', (webSocket) => webSocket.pong()],
  ];
  for (const [name, sign] of signs) {
    const socket = await dialGateway({ ...options, agent });
    watch(socket);
    await until(() => gateway.last.received.length === 1);
    for (let i = 0; i < 3; i++) {
      clock.advance(39_999);
      const read = raw!.bytesRead;
      sign(gateway.last.webSocket!);
      await until(() => raw!.bytesRead > read);
      await new Promise((resolve) => setImmediate(resolve));
    }
    t.equal(socket.isOpen, true, name);
    clock.advance(40_000);
    t.equal(socket.isOpen, false, `and without ${name}`);
  }
});

t.test('close sends code 1000 and resolves when the peer has answered', async (t) => {
  const { gateway, clock, options } = await scene(t);
  const socket = await dialGateway(options);
  const seen = watch(socket);
  await socket.close();
  t.equal(seen.end!.code, 1000);
  await until(() => gateway.last.closeCode !== undefined);
  t.equal(gateway.last.closeCode, 1000);
  await socket.close();
  t.equal(clock.pending, 0);
});

t.test('close waits no longer than half a second for a peer that does not answer', async (t) => {
  const { gateway, clock, options } = await scene(t);
  const socket = await dialGateway(options);
  watch(socket);
  await until(() => gateway.last.received.length === 1);
  gateway.last.socket.pause();
  let isClosed = false;
  const closing = socket.close().then(() => {
    isClosed = true;
  });
  clock.advance(499);
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(isClosed, false);
  clock.advance(1);
  await closing;
  t.equal(clock.pending, 0);
});

t.test('a socket that was never started can be closed', async (t) => {
  const { gateway, clock, options } = await scene(t);
  gateway.onOpen = (dial) => dial.send(Buffer.alloc(100_000));
  const socket = await dialGateway(options);
  await socket.close();
  t.equal(clock.pending, 0);
});

t.test('room ends at 256 KiB on their way, and drain tells when it is back', async (t) => {
  const { gateway, options } = await scene(t);
  const socket = await dialGateway(options);
  let drains = 0;
  socket.start({ message: () => {}, drain: () => drains++, close: () => {} });
  await until(() => gateway.last.received.length === 1);
  gateway.last.socket.pause();
  let sent = 0;
  while (socket.hasRoom && sent < 64 * 2 ** 20) {
    socket.send(Buffer.alloc(32_768));
    sent += 32_768;
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.equal(socket.hasRoom, false);
  drains = 0;
  gateway.last.socket.resume();
  await until(() => drains > 0);
  t.equal(socket.hasRoom, true);
  socket.destroy();
});
