// Connections that are open before they are wanted, against a TLS server that counts them.
import { once } from 'node:events';
import { get } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { createServer } from 'node:tls';
import t, { type Test } from 'tap';
import { ReadyAgent } from '../../src/aws/ready-agent.ts';
import { ManualClock, turn } from '../manual-clock.ts';
import { createServerCertificate } from '../region/certificate.ts';

const keepMs = 300_000;

async function setUp(t: Test, { keep = keepMs } = {}) {
  const { ca, cert, key } = createServerCertificate(Date.now());
  const sockets: Socket[] = [];
  const server = createServer({ cert, key }, (socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const clock = new ManualClock();
  const agent = new ReadyAgent({ ca }, { clock, keepMs: keep });
  t.teardown(() => {
    agent.destroy();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const count = async (n: number) => {
    while (sockets.length < n) await turn();
    t.equal(sockets.length, n, `${n} connections so far`);
  };
  /** @returns the number of the connection that carried it */
  const request = async (): Promise<number> => {
    const [response] = await once(get({ host: 'localhost', port, agent }), 'response');
    response.resume();
    const from = response.socket.localPort;
    await once(response, 'end');
    return sockets.findIndex(({ remotePort }) => remotePort === from);
  };
  return { agent, clock, sockets, port, count, request };
}

t.test('one that was prepared is taken, once, and no other is made without a use to come', async (t) => {
  const { agent, sockets, port, count, request } = await setUp(t, { keep: 0 });
  agent.prepare('localhost', port);
  agent.prepare('localhost', port);
  await count(1);
  t.equal(await request(), 0);
  t.equal(await request(), 1);
  await turn();
  t.equal(sockets.length, 2);
});

t.test('a host that is used has the next connection ready, until it has not been used for some time', async (t) => {
  const { agent, clock, sockets, port, count, request } = await setUp(t);
  agent.expect('localhost', port);
  t.equal(await request(), 0);
  await count(2);
  agent.expect('localhost', port);
  t.equal(await request(), 1, 'the one that was ready');
  await count(3);
  for (let made = 4; made <= 9; made += 1) {
    await clock.advance(45_000);
    await count(made);
    await closed(sockets[made - 2]!);
  }
  await clock.advance(45_000);
  await closed(sockets.at(-1)!);
  t.equal(sockets.length, 9, 'five minutes are over');
  t.equal(clock.pending, 0);
});

t.test('what has become too old while the machine slept is not taken', async (t) => {
  const { agent, clock, port, count, request } = await setUp(t);
  agent.prepare('localhost', port);
  await count(1);
  const slept = clock.wallTime() + 3_600_000;
  clock.wallTime = () => slept;
  t.equal(await request(), 1);
});

t.test('what may lead nowhere is not taken', async (t) => {
  const { agent, port, count, request } = await setUp(t);
  agent.prepare('localhost', port);
  await count(1);
  agent.forgetReady();
  t.equal(await request(), 1);
});

t.test('one that the peer closes soon is not made again', async (t) => {
  const { agent, sockets, clock, port, count } = await setUp(t);
  agent.expect('localhost', port);
  agent.prepare('localhost', port);
  await count(1);
  const [own] = sockets;
  own!.destroy();
  while (clock.pending > 0) await turn();
  await turn();
  t.equal(sockets.length, 1);
});

t.test("one that can not be made is nobody's failure", async (t) => {
  const { agent, clock, port, request } = await setUp(t);
  agent.prepare('localhost', 1);
  while (clock.pending > 0) await turn();
  agent.prepare('localhost', port);
  t.equal(await request(), 0);
});

t.test('of a few hosts only', async (t) => {
  const { agent, clock, port, count } = await setUp(t);
  for (const name of ['localhost', 'a.invalid', 'b.invalid', 'c.invalid']) agent.expect(name, port);
  agent.prepare('localhost', port);
  await count(1);
  for (const name of ['a.invalid', 'b.invalid', 'c.invalid', 'd.invalid']) agent.expect(name, port);
  t.equal(clock.pending, 0, 'the oldest is forgotten, and its connection closed');
});

async function closed(socket: Socket): Promise<void> {
  if (!socket.destroyed) await once(socket, 'close');
}
