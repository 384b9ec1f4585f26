// Local tunnels as the control socket asks for them, in a daemon in this process, through the simulated region.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { FrameType } from '../../src/control/frame.ts';
import type { ControlLink } from '../../src/control/link.ts';
import { type ForwardRequest, parseConnectionEvent, parseForwardingReply } from '../../src/control/message.ts';
import type { NodeOptions } from '../region/options.ts';
import { conversation, instanceId, openSessions, type Stage, setStage, until } from './stage.ts';

/** Echoes, and closes after `bye`. */
async function startEcho(t: Test): Promise<{ host: string; port: number }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (chunk) => (chunk.includes('bye') ? socket.end('gone') : socket.write(chunk)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

async function scene(t: Test, node: Partial<NodeOptions> = {}): Promise<Stage> {
  const echo = await startEcho(t);
  const ports = { 7: echo };
  const hosts = { 'db.internal': { 7: echo } };
  const stage = await setStage(t, { nodes: [{ instanceId, ports, hosts, ...node }] });
  t.teardown(async () => {
    stage.service.stop();
    await until('the daemon is idle', () => !stage.service.busy);
  });
  return stage;
}

function wish(stage: Stage, more: Partial<ForwardRequest> = {}): ForwardRequest {
  const { caller } = stage.request();
  const flags = { 'forward-idle-timeout': '1h', wait: '0' };
  return { host: instanceId, forwardings: ['0:7'], expose: false, detached: false, flags, caller, ...more };
}

/** Asks for a tunnel; the local ports of its ends. */
async function forward(
  stage: Stage,
  more: Partial<ForwardRequest> = {},
): Promise<{ link: ControlLink; ports: number[] }> {
  const link = await stage.connect();
  link.send(FrameType.forward, wish(stage, more));
  const frames = await conversation(stage, link, FrameType.forwarding);
  const { locals } = parseForwardingReply(frames.at(-1)!.body);
  return { link, ports: locals.map((local) => Number(local.split(':').at(-1))) };
}

async function say(port: number, word: string): Promise<{ socket: Socket; heard(): string; closed(): boolean }> {
  const socket = connect(port, '127.0.0.1');
  let heard = '';
  let closed = false;
  socket.on('data', (chunk) => {
    heard += chunk;
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    closed = true;
  });
  await once(socket, 'connect');
  socket.write(word);
  return { socket, heard: () => heard, closed: () => closed };
}

t.test('a tunnel listens before there is a session, tells of its connections, and ends with its caller', async (t) => {
  const stage = await scene(t);
  const { link, ports } = await forward(stage, { forwardings: ['0:7', '0:db.internal:7'] });
  t.equal(stage.region.sessions.length, 0);
  const first = await say(ports[0]!, 'one');
  await until('it is echoed', () => first.heard() === 'one');
  const second = await say(ports[0]!, 'two');
  const third = await say(ports[1]!, 'three');
  await until('they are echoed', () => second.heard() === 'two' && third.heard() === 'three');
  t.same(stage.region.sessions.map(({ document }) => document.name).sort(), [
    'AWS-StartPortForwardingSession',
    'AWS-StartPortForwardingSessionToRemoteHost',
  ]);
  t.match(stage.service.status().forwards, [
    {
      host: instanceId,
      detached: false,
      ends: [
        { connections: 2, connectionsInAll: 2, bytesSent: 6, bytesReceived: 6, sessions: [{ connections: 2 }] },
        { remoteHost: 'db.internal', connections: 1 },
      ],
    },
  ]);
  first.socket.write('bye');
  await until('the server closes', first.closed);
  const events = [];
  for (let i = 0; i < 4; i++) events.push(parseConnectionEvent((await link.receive()).body));
  t.same(
    events.map(({ type, id }) => `${type} ${id}`),
    ['opened 1', 'opened 2', 'opened 1', 'closed 1'],
  );
  t.match(events[3], { bytesSent: 6, bytesReceived: 7, failure: undefined });

  link.socket.end();
  const last = [];
  for (let i = 0; i < 2; i++) last.push(parseConnectionEvent((await link.receive()).body).type);
  t.same(last, ['closed', 'closed'], 'it is told to the end');
  await until('nothing is left', () => openSessions(stage.region) === 0 && !stage.service.busy);
  t.same(stage.ledger.entries(), []);
});

t.test('one that is detached stays until it is taken down', async (t) => {
  const stage = await scene(t);
  const { link, ports } = await forward(stage, { name: 'db', detached: true });
  link.socket.destroy();
  const client = await say(ports[0]!, 'one');
  await until('it is echoed', () => client.heard() === 'one');
  t.ok(stage.service.busy, 'the daemon does not leave');
  const same = await forward(stage, { name: 'db', detached: true });
  t.same(same.ports, ports, 'asked for again it is the same');

  const control = await stage.connect();
  control.send(FrameType.forward, wish(stage, { name: 'db', detached: true, forwardings: ['0:9'] }));
  t.match(await control.receive(), { type: FrameType.error, body: { code: 'forward-exists' } });
  const down = await stage.connect();
  down.send(FrameType.down, { names: [] });
  t.match(await down.receive(), { type: FrameType.done, body: { names: ['db'] } });
  t.equal(openSessions(stage.region), 0, 'when that is answered its session has ended');
  await until('its connection is closed', client.closed);
  down.send(FrameType.down, { names: ['db'] });
  t.match(await down.receive(), { type: FrameType.error, body: { code: 'forward-unknown' } });
});

t.test('a daemon that drains lets the connections of a detached tunnel finish', async (t) => {
  const stage = await scene(t);
  const { link, ports } = await forward(stage, { name: 'db', detached: true });
  link.socket.destroy();
  const client = await say(ports[0]!, 'one');
  await until('it is echoed', () => client.heard() === 'one');
  stage.service.drain();
  const late = connect(ports[0]!, '127.0.0.1');
  const [error] = await once(late, 'error');
  t.equal(error.code, 'ECONNREFUSED');
  client.socket.write('two');
  await until('it goes on', () => client.heard() === 'onetwo');
  t.ok(stage.service.busy);
  client.socket.write('bye');
  await until('then it ends', () => !stage.service.busy && openSessions(stage.region) === 0);
});

t.test('what is up is up again in the next daemon', async (t) => {
  const stage = await scene(t);
  const { link, ports } = await forward(stage, { name: 'db', detached: true });
  link.socket.destroy();
  const other = await forward(stage, { name: 'other', detached: true });
  other.link.socket.destroy();
  const client = await say(ports[0]!, 'one');
  await until('it is echoed', () => client.heard() === 'one');
  stage.service.drain();
  const successor = stage.successor();
  await successor.reopenForwards();
  const names = () => successor.status().forwards.map(({ name }) => name);
  t.same(names().sort(), ['db', 'other']);
  const again = successor.status().forwards.find(({ name }) => name === 'db')!.ends[0]!.local;
  const second = await say(Number(again.split(':').at(-1)), 'two');
  await until('it is echoed by the successor', () => second.heard() === 'two');
  client.socket.write('bye');
  await until('the old one has finished', () => !stage.service.busy);
  t.same(names().length, 2, 'and took nothing from the successor');
  successor.drain();
  successor.stop();
  await until('the successor has finished', () => !successor.busy);
  t.equal(openSessions(stage.region), 0);
});

t.test('an agent that is too old gets a session for each connection', async (t) => {
  const stage = await scene(t, { agentVersion: '3.0.196.0' });
  const { ports } = await forward(stage, { forwardings: ['0:7', '0:db.internal:7'] });
  const clients = [await say(ports[0]!, 'one'), await say(ports[0]!, 'two')];
  await until('they are echoed', () => clients.map(({ heard }) => heard()).join() === 'one,two');
  const active = stage.region.sessions.filter((session) => session.active);
  t.same(
    active.map(({ document }) => document.name),
    ['AWS-StartSSHSession', 'AWS-StartSSHSession'],
  );
  const remote = await say(ports[1]!, 'three');
  await until('another machine can not be reached', remote.closed);
  t.same(stage.failures.at(-1), { host: instanceId, code: 'mux-unsupported' });
  for (const { socket } of clients) socket.destroy();
  await until('their sessions end with them', () => openSessions(stage.region) === 0);
});

t.test('when the session can not be opened its clients are refused, and the next one tries again', async (t) => {
  const stage = await scene(t, { online: false });
  const { ports } = await forward(stage);
  const refused = await say(ports[0]!, 'one');
  await until('it is refused', refused.closed);
  t.same(stage.failures, [{ host: instanceId, code: 'target-not-connected' }]);
  t.match(stage.service.status().forwards[0]!.ends[0]!.failure, { code: 'target-not-connected' });
  stage.region.nodes.get(instanceId)!.online = true;
  const next = await say(ports[0]!, 'two');
  await until('it is echoed', () => next.heard() === 'two');
  next.socket.destroy();
});

t.test('a client that goes while the session opens leaves no connection, and no failure', async (t) => {
  const stage = await scene(t);
  const { ports } = await forward(stage, { flags: { 'forward-idle-timeout': '0', wait: '0' } });
  const client = await say(ports[0]!, 'one');
  client.socket.resetAndDestroy();
  await until(
    'the session is there and gone',
    () => stage.region.sessions.length > 0 && openSessions(stage.region) === 0,
  );
  t.same(stage.failures, []);
  t.match(stage.service.status().forwards[0]!.ends[0], { connections: 0, connectionsInAll: 1 });
});

t.test('a session that AWS ends resets its connections; the next connection opens another', async (t) => {
  const stage = await scene(t);
  const { ports } = await forward(stage);
  const client = await say(ports[0]!, 'one');
  await until('it is echoed', () => client.heard() === 'one');
  stage.region.sessions[0]!.end('terminated', '');
  await until('it is closed', client.closed);
  const next = await say(ports[0]!, 'two');
  await until('it is echoed', () => next.heard() === 'two');
  t.equal(stage.region.sessions.length, 2);
  next.socket.destroy();
});

t.test('what is wrong with a tunnel is said at once, and leaves nothing', async (t) => {
  const stage = await scene(t);
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.teardown(() => taken.close());
  for (const [more, code] of [
    [{ forwardings: ['nonsense'] }, 'bad-port'],
    [{ forwardings: ['1:2:3:4:5'] }, 'bad-forwarding'],
    [{ forwardings: ['0.0.0.0:0:7'] }, 'not-loopback'],
    [{ forwardings: ['0:7', `${(taken.address() as AddressInfo).port}:7`] }, 'port-in-use'],
    [{ host: 'somewhere' }, 'bad-host'],
    [{ flags: { transport: 'pigeon' } }, 'bad-setting'],
  ] as const) {
    const link = await stage.connect();
    link.send(FrameType.forward, wish(stage, more as Partial<ForwardRequest>));
    t.match(await link.receive(), { type: FrameType.error, body: { code } }, code);
  }
  t.same(stage.service.status().forwards, []);
  await until('the conversations are over', () => !stage.service.busy);
});
