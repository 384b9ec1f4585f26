import { once } from 'node:events';
import { createServer, type Server, Socket, connect as tcpConnect } from 'node:net';
import { createServer as createTlsServer, connect as tlsConnect } from 'node:tls';
import t, { type Test } from 'tap';
import { readIntoOwnBuffer } from '../../src/websocket/own-buffer.ts';
import { createServerCertificate } from '../region/certificate.ts';
import { turn } from '../ssm/manual-clock.ts';
import { until } from '../ssm/stage.ts';

const { ca, cert, key } = createServerCertificate(Date.now());
const ways = {
  tcp: { listen: () => createServer(), connect: (port: number) => tcpConnect({ port, host: '127.0.0.1' }) },
  tls: {
    listen: () => createTlsServer({ cert, key }),
    connect: (port: number) => tlsConnect({ port, host: 'localhost', ca }),
  },
};

async function pair(t: Test, way: 'tcp' | 'tls'): Promise<{ near: Socket; far: Socket }> {
  const { listen, connect } = ways[way];
  const server: Server = listen();
  server.listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  const near = connect((server.address() as { port: number }).port);
  const [[far]] = (await Promise.all([
    once(server, way === 'tls' ? 'secureConnection' : 'connection'),
    once(near, way === 'tls' ? 'secureConnect' : 'connect'),
  ])) as [[Socket], unknown];
  t.teardown(() => near.destroy());
  t.teardown(() => far.destroy());
  return { near, far };
}

for (const way of ['tcp', 'tls'] as const) {
  t.test(`${way}: all bytes in order, each a part of one buffer, and none of it as 'data'`, async (t) => {
    const { near, far } = await pair(t, way);
    const buffer = Buffer.alloc(4096);
    const parts: Buffer[] = [];
    let isOurs = true;
    const took = readIntoOwnBuffer(near, buffer, (bytes) => {
      isOurs &&= bytes.buffer === buffer.buffer && bytes.byteOffset === buffer.byteOffset;
      parts.push(Buffer.from(bytes));
    });
    t.ok(took, 'this Node is as expected');
    let data = 0;
    near.on('data', () => (data += 1));
    const sent = Buffer.alloc(1_000_000, 'the quick brown fox');
    far.end(sent);
    await once(near, 'end');
    t.ok(Buffer.concat(parts).equals(sent));
    t.ok(isOurs);
    t.equal(data, 0);
  });

  t.test(`${way}: paused, nothing is read; what was unshifted comes first`, async (t) => {
    const { near, far } = await pair(t, way);
    let text = '';
    readIntoOwnBuffer(near, Buffer.alloc(64), (bytes) => (text += bytes));
    near.pause();
    near.unshift(Buffer.from('head '));
    near.on('data', (bytes) => (text += bytes));
    near.pause(); // a listener for data has started it
    far.write('body');
    for (let at = 0; at < 20; at++) await turn();
    t.equal(text, '');
    near.resume();
    await until(() => text.length === 9);
    t.equal(text, 'head body');
    near.pause();
    far.write(' more');
    for (let at = 0; at < 20; at++) await turn();
    t.equal(text, 'head body');
    near.resume();
    await until(() => text === 'head body more');
  });

  t.test(`${way}: it can be closed from within`, async (t) => {
    const { near, far } = await pair(t, way);
    let calls = 0;
    readIntoOwnBuffer(near, Buffer.alloc(64), () => {
      calls += 1;
      near.destroy();
    });
    near.resume();
    far.on('error', () => {}); // it writes into nothing
    far.write(Buffer.alloc(100_000));
    await once(near, 'close');
    for (let at = 0; at < 20; at++) await turn();
    t.equal(calls, 1);
  });
}

t.test('where something waits already, or Node is another, nothing is changed', async (t) => {
  const { near, far } = await pair(t, 'tcp');
  const refuse = (socket: Socket) => readIntoOwnBuffer(socket, Buffer.alloc(64), () => t.fail('it was taken'));
  near.unshift(Buffer.from('x'));
  t.notOk(refuse(near));
  t.equal(near.read()?.toString(), 'x');
  t.notOk(refuse(new Socket()), 'no handle');
  const handle = (near as unknown as { _handle: { useUserBuffer: unknown } })._handle;
  handle.useUserBuffer = undefined;
  t.notOk(refuse(near), 'a handle that can do less');
  far.write('data');
  const [data] = await once(near, 'data');
  t.equal(String(data), 'data');
});
