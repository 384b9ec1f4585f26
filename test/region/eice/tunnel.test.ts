// What a tunnel does with bytes, and how it ends.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import t from 'tap';
import { ManualClock } from '../../manual-clock.ts';
import { instanceId, until } from '../fixture.ts';
import { startEiceStand, type TunnelClient } from './fixture.ts';

const nothing = Buffer.alloc(0);

/** What arrives at the instance from now on. */
function collect(socket: Socket): { readonly bytes: Buffer } {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  return {
    get bytes() {
      return Buffer.concat(chunks);
    },
  };
}

async function openWithTarget({ region, open, connections }: Awaited<ReturnType<typeof startEiceStand>>) {
  const client: TunnelClient = await open();
  await until(() => connections.length === 1 && region.tunnels[0]!.connectedAt !== undefined);
  return { client, target: connections[0]! };
}

for (const tls of [false, true]) {
  t.test(`bytes pass both ways over ${tls ? 'wss' : 'ws'}, and are on record`, async (t) => {
    const stand = await startEiceStand(t, { tls });
    const { client, target } = await openWithTarget(stand);
    const up = collect(target);
    const [sent, answer] = [randomBytes(300_000), randomBytes(300_000)];
    for (let at = 0; at < sent.length; at += 64_000) client.socket.send(sent.subarray(at, at + 64_000));
    target.write(answer);
    await until(() => up.bytes.length === sent.length && client.received.length === answer.length);
    t.ok(up.bytes.equals(sent));
    t.ok(client.received.equals(answer));
    client.socket.close(1000);
    await client.closed;
    await until(() => stand.region.tunnels[0]!.closeReceived !== undefined);
    t.match(stand.region.tunnels, [
      {
        instanceConnectEndpointId: 'eice-0123456789abcdef0',
        instanceId,
        remotePort: 22,
        privateIpAddress: '10.0.1.23',
        maxTunnelDuration: 3600,
        accessKeyId: stand.region.env.AWS_ACCESS_KEY_ID,
        arn: 'arn:aws:iam::111122223333:user/alice',
        sourceIp: '127.0.0.1',
        connectedAt: Number,
        endedBy: 'client',
        closeSent: undefined,
        closeReceived: 1000,
        traffic: { up: { messages: 5, bytes: 300_000 }, down: { bytes: 300_000 } },
        errors: [],
      },
    ]);
    t.match(stand.region.requests, [
      { service: 'ec2-instance-connect', action: 'OpenTunnel', status: 101, input: { remotePort: 22 } },
    ]);
    t.equal(stand.region.requests[0]!.requestId, stand.region.tunnels[0]!.tunnelId);
  });
}

t.test('the end of the instance’s bytes is a close frame with 1000, behind all of them', async (t) => {
  const stand = await startEiceStand(t);
  const { client, target } = await openWithTarget(stand);
  const bytes = randomBytes(1 << 20);
  target.end(bytes);
  t.same(await client.closed, { code: 1000, reason: '' });
  t.ok(client.received.equals(bytes));
  t.match(stand.region.tunnels, [{ endedBy: 'target', closeSent: { code: 1000 } }]);
});

t.test('the client’s close frame ends the connection to the instance, behind all its bytes', async (t) => {
  const { client, target } = await openWithTarget(await startEiceStand(t));
  const up = collect(target);
  client.socket.send(Buffer.alloc(60_000, 1));
  client.socket.close(1000);
  await once(target, 'close');
  t.equal(up.bytes.length, 60_000);
});

t.test('a client that goes without a close frame is gone at once', async (t) => {
  const stand = await startEiceStand(t);
  const { client, target } = await openWithTarget(stand);
  target.resume();
  client.socket.terminate();
  await once(target, 'close');
  t.match(stand.region.tunnels, [{ endedBy: 'client', closeReceived: 1006 }]);
  t.equal(stand.region.endpoints.get('eice-0123456789abcdef0')!.connections, 0);
});

t.test('a reset by the instance is no normal end', async (t) => {
  const stand = await startEiceStand(t);
  const { client, target } = await openWithTarget(stand);
  target.resetAndDestroy();
  t.match(await client.closed, { code: 1011, reason: /lost/ });
  t.match(stand.region.tunnels, [{ endedBy: 'lost' }]);
});

t.test('a refused connection: 101, then a close frame with the known reason, and no byte', async (t) => {
  const stand = await startEiceStand(t);
  const client = await stand.open({ remotePort: '3389' });
  t.equal(client.refusal, undefined);
  t.same(await client.closed, { code: 1011, reason: 'Unable to connect to target' });
  t.ok(client.received.equals(nothing));
  t.match(stand.region.tunnels, [{ endedBy: 'unreachable', connectedAt: undefined }]);
});

t.test('nobody answers where the instance is stopped or the endpoint has no way out', async (t) => {
  const clock = new ManualClock();
  const stand = await startEiceStand(t, { clock, clockOffsetMs: Date.now() - clock.wallTime() });
  const attempts: (() => void)[] = [
    () => Object.assign(stand.region.nodes.get(instanceId)!, { state: 'stopped' }),
    () => {
      stand.region.nodes.get(instanceId)!.state = 'running';
      stand.region.endpoints.get('eice-0123456789abcdef0')!.egress = false;
    },
  ];
  for (const attempt of attempts) {
    attempt();
    const client = await stand.open();
    await clock.advance(9_999);
    t.equal(client.socket.readyState, client.socket.OPEN);
    await clock.advance(1);
    t.match(await client.closed, { reason: 'Unable to connect to target' });
  }
  t.equal(stand.connections.length, 0);
});

t.test('the time of a tunnel is over on its second, whatever it is doing', async (t) => {
  const clock = new ManualClock();
  const stand = await startEiceStand(t, { clock, clockOffsetMs: Date.now() - clock.wallTime() });
  const client = await stand.open({ maxTunnelDuration: '60' });
  await until(() => stand.region.tunnels[0]!.connectedAt !== undefined);
  const target = stand.connections[0]!;
  target.resume();
  await clock.advance(59_999);
  t.equal(client.socket.readyState, client.socket.OPEN);
  await clock.advance(1);
  t.match(await client.closed, { code: 1008, reason: /duration/ });
  await until(() => target.closed);
  t.match(stand.region.tunnels, [{ endedBy: 'expired', maxTunnelDuration: 60 }]);
  await until(() => clock.pending === 0);
});

t.test('what a client must not send is on record', async (t) => {
  const stand = await startEiceStand(t);
  const { client, target } = await openWithTarget(stand);
  const up = collect(target);
  client.socket.send(nothing);
  client.socket.send(Buffer.from('after it'));
  await until(() => up.bytes.equals(Buffer.from('after it')));
  t.same(stand.region.tunnels[0]!.errors, ['zero-length frame']);
  client.socket.send('text');
  t.match(await client.closed, { code: 1003 });
  t.same(stand.region.tunnels[0]!.errors, ['zero-length frame', 'TEXT frame']);

  const other = await stand.open();
  other.socket.send(Buffer.alloc(65_536));
  other.socket.send(Buffer.alloc(65_537));
  t.match(await other.closed, { code: 1009 });
  t.match(stand.region.tunnels[1], { errors: ['frame over 65536 bytes'], endedBy: 'protocol error' });
});

t.test('pings of either side are answered and counted', async (t) => {
  const stand = await startEiceStand(t, { eice: { pingIntervalMs: 5 } });
  const { client } = await openWithTarget(stand);
  client.socket.ping();
  await once(client.socket, 'pong');
  await until(() => stand.region.tunnels[0]!.pongs >= 2);
  t.equal(stand.region.tunnels[0]!.pings, 1);
});

t.test('a client that does not read stops the instance, and loses nothing by it', async (t) => {
  const stand = await startEiceStand(t);
  const { client, target } = await openWithTarget(stand);
  const bytes = randomBytes(32 << 20);
  client.socket.pause();
  target.write(bytes);
  const { down } = stand.region.tunnels[0]!.traffic;
  await settled(() => down.bytes);
  t.ok(down.bytes < bytes.length / 2, `${down.bytes} bytes were taken`);
  client.socket.resume();
  await until(() => down.bytes === bytes.length);
  target.end();
  await client.closed;
  t.ok(client.received.equals(bytes));
});

t.test('an instance that does not read stops the client', async (t) => {
  const stand = await startEiceStand(t);
  const { client, target } = await openWithTarget(stand);
  const count = 512;
  for (let at = 0; at < count; at += 1) client.socket.send(Buffer.alloc(64_000, at));
  const { up } = stand.region.tunnels[0]!.traffic;
  await settled(() => up.bytes);
  t.ok(up.bytes < (count * 64_000) / 2, `${up.bytes} bytes were taken`);
  let arrived = 0;
  target.on('data', (chunk) => {
    arrived += chunk.length;
  });
  await until(() => arrived === count * 64_000);
});

t.test('delay, a narrow line, and every way of a cut', async (t) => {
  const clock = new ManualClock();
  const stand = await startEiceStand(t, { clock, clockOffsetMs: Date.now() - clock.wallTime() });
  Object.assign(stand.region.eiceFaults.down, { delayMs: 100, bytesPerSecond: 10_000 });
  const { client, target } = await openWithTarget(stand);
  target.write(Buffer.alloc(1_000));
  await until(() => stand.region.tunnels[0]!.traffic.down.bytes === 1_000);
  await clock.advance(199);
  t.equal(client.received.length, 0);
  await clock.advance(1);
  await until(() => client.received.length === 1_000);

  for (const [cut, code] of [
    [{ by: 'close', code: 1001, reason: 'going away' }, 1001],
    [{ by: 'close', code: 1006 }, 1006],
    [{ by: 'reset' }, 1006],
  ] as const) {
    const one = await stand.open();
    const { tunnelId } = stand.region.tunnels.at(-1)!;
    stand.region.cutTunnel(cut, tunnelId);
    t.match(await one.closed, { code });
    t.match(stand.region.tunnels.at(-1), { endedBy: 'cut' });
  }
  t.equal(client.socket.readyState, client.socket.OPEN, 'the others stay');
});

/** Waits until a number has stopped to change. */
async function settled(read: () => number): Promise<void> {
  for (let before = -1; before !== read(); ) {
    before = read();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
