// The agent worker over a real socket: what channel.test.ts cannot see, its pace, its back-pressure and its ends.
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { Flag, PayloadType } from '../../../src/ssm/message.ts';
import { type AgentSessionOptions, startAgentSession } from './agent.ts';
import { ScriptedClient } from './scripted-client.ts';

const session = { sessionId: 'tester-0', properties: { portNumber: '22' }, agentVersion: '3.3.1142.0' };

function startClient(test: Test, options: Pick<AgentSessionOptions, 'destination' | 'refusedPortDelayMs'>) {
  const leg = startAgentSession({ ...session, ...options });
  test.teardown(() => leg.close());
  return { leg, client: new ScriptedClient(leg) };
}

/**
 * An agent in front of a TCP server of the test's own, its connection, and a client past the handshake.
 * It has seen a byte of the port, so the agent's dial is over and input is no more refused.
 */
async function connected(test: Test) {
  const server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  test.teardown(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const { leg, client } = startClient(test, { destination: { address: { host: '127.0.0.1', port } } });
  const [socket] = (await once(server, 'connection')) as [Socket];
  test.teardown(() => socket.destroy());
  socket.write('.');
  await client.until(() => client.output().length === 1);
  client.received.length = 0;
  return { leg, client, socket };
}

t.test('bytes of the port reach the client in messages of at most 1,024 bytes, then the session ends', async (t) => {
  const { client, socket } = await connected(t);
  const sent = Buffer.alloc(100_000, 'keyhole');
  socket.end(sent);
  t.same(await client.ended, { output: '' });
  t.ok(client.received.every(({ message }) => message.payload.length <= 1024));
  t.ok(client.output().equals(sent));
});

t.test('a download runs at the pace of the reference, 0.6 to 0.75 MB/s', async (t) => {
  const { client, socket } = await connected(t);
  socket.end(Buffer.alloc(700_000));
  await client.ended;
  const first = client.received.find(({ message }) => message.payloadType === PayloadType.output)!;
  const rate = 700_000 / (client.received.at(-1)!.at - first.at) / 1000;
  t.comment(`${rate.toFixed(3)} MB/s`);
  // Slower only where this machine is busy; faster would be an agent that does not exist.
  t.ok(rate > 0.2 && rate < 0.77, `${rate} MB/s`);
});

t.test('a port that does not read stops the reader, and takes every byte once it reads', async (t) => {
  const { leg, client, socket } = await connected(t);
  const chunk = Buffer.alloc(32 * 1024, 'x');
  let sent = 0;
  do sent += chunk.length;
  while (client.sendOutput(chunk) && sent < 100e6);
  t.ok(sent < 20e6, `the reader stopped after ${sent} bytes`);
  const drained = new Promise<void>((resolve) => {
    leg.onDrain = resolve;
  });
  let received = 0;
  socket.on('data', (bytes: Buffer) => {
    received += bytes.length;
  });
  socket.resume();
  await drained;
  client.sendFlag(Flag.terminateSession);
  await Promise.all([client.ended, once(socket, 'end')]);
  t.equal(received, sent);
});

t.test('while the way to the client is full, nothing is read from the port, and input still arrives', async (t) => {
  const { leg, client, socket } = await connected(t);
  socket.write('a');
  await client.until(() => client.output().length === 1);
  leg.pause();
  socket.write('b');
  client.sendOutput('in');
  socket.resume();
  const [input] = await once(socket, 'data');
  t.equal(input.toString(), 'in');
  await client.until(() => client.acknowledged.includes(1));
  t.equal(client.output().toString(), 'a');
  leg.resume();
  await client.until(() => client.output().toString() === 'ab');
});

t.test('the flag TerminateSession and the API each close the connection and end with Success', async (t) => {
  const flagged = await connected(t);
  flagged.client.sendFlag(Flag.terminateSession);
  flagged.socket.resume();
  await once(flagged.socket, 'end');
  t.same(await flagged.client.ended, { output: '' });

  const cancelled = await connected(t);
  cancelled.leg.cancel('session terminated');
  cancelled.socket.resume();
  await once(cancelled.socket, 'end');
  t.same(await cancelled.client.ended, { output: 'session terminated' });
});

t.test('a reset connection ends the session', async (t) => {
  const { client, socket } = await connected(t);
  socket.resetAndDestroy();
  t.same(await client.ended, { output: '' });
});

for (const [why, target] of [
  ['a refused port', { host: '127.0.0.1', port: 1 }],
  ['a target without a port', undefined],
] as const) {
  t.test(`${why}: the handshake completes, then silence, then the report of a dead worker`, async (t) => {
    const { client } = startClient(t, { destination: { address: target }, refusedPortDelayMs: 20 });
    await client.handshake();
    client.sendOutput('SSH-2.0-test\r\n');
    t.match(await client.ended, { output: /^document process failed unexpectedly: ipc messaging received timeout/ });
    t.notOk(client.acknowledged.includes(1), 'first data never acknowledged');
    t.equal(client.output().length, 0);
  });
}
