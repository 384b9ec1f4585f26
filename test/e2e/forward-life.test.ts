// The life of local tunnels: no session before the first connection and none after the idle time; nothing left of what
// was ended, in whatever way; and the ways on which connections do not share a session.
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Test } from 'tap';
import t from 'tap';
import { type DaemonBench, kill, openDaemonBench } from './daemon-bench.ts';
import { keyhole, until } from './fixture.ts';
import { startRaw } from './raw.ts';
import { ask, open, startForward } from './tunnels.ts';

const idle = '--forward-idle-timeout=300ms';

/** An instance that greets on port 22, and on 80 echoes. */
async function openBench(t: Test, options: Parameters<typeof openDaemonBench>[1] = {}): Promise<DaemonBench> {
  const echo = await startRaw(t, (socket) => socket.pipe(socket));
  return await openDaemonBench(t, { ports: { 80: echo, 3389: echo }, ...options });
}

/** Says a word to the echo and waits for it to come back; leaves the connection open. */
async function connectTo(where: number | string) {
  const socket = open(where);
  socket.on('error', () => {});
  socket.write('word');
  await new Promise((resolve, reject) => {
    socket.once('data', resolve);
    socket.once('close', () => reject(new Error('closed')));
  });
  return socket;
}

const active = (bench: DaemonBench) => bench.activeSessions().length;
const documents = (bench: DaemonBench) => bench.region.sessions.map(({ document }) => document.name);

t.test('a session exists from the first connection to the end of the idle time', async (t) => {
  const bench = await openBench(t);
  const path = join(bench.home, 'echo.sock');
  const tunnel = await startForward(bench, [idle, bench.instances[0]!, '0:80', `${path}:80`]);
  t.equal(bench.region.sessions.length, 0, 'none before');
  t.equal(statSync(path).mode & 0o777, 0o600, 'the unix socket is for its user alone');

  const sockets = [await connectTo(tunnel.ports[0]!), await connectTo(tunnel.ports[0]!), await connectTo(path)];
  t.equal(active(bench), 2, 'one for each end, however many connections');
  for (const socket of sockets) socket.destroy();
  await until('the idle time ends them', () => active(bench) === 0);
  const again = await connectTo(tunnel.ports[0]!);
  t.equal(bench.region.sessions.length, 3, 'the next connection opens another');

  kill(tunnel.pid, 'SIGKILL');
  await until('a killed client leaves nothing', () => active(bench) === 0 && again.readableEnded);
  t.throws(() => statSync(path), 'nor its socket');
  t.equal((await ask(tunnel.ports[0]!, 'word')).code, 'ECONNREFUSED');
  t.same((await bench.status())!.forwards, []);
});

t.test('up and down, by the tables of the configuration file', async (t) => {
  const bench = await openBench(t);
  const folder = join(bench.home, '.config/keyhole');
  mkdirSync(folder, { recursive: true });
  const paths = ['one', 'two'].map((name) => join(bench.home, name));
  const table = (at: number) => `[forward.${at}]\nhost = "box"\nports = ["${paths[at]}:80"]\n`;
  writeFileSync(
    join(folder, 'config.toml'),
    `forward_idle_timeout = "1h"\n[host.box]\ntarget = "${bench.instances[0]}"\n${table(0)}${table(1)}`,
  );

  const up = await bench.keyhole(['up']);
  t.equal(up.status, 0, up.stderr);
  t.match(up.text, `0: ${paths[0]} leads to port 80 of box\n1: ${paths[1]} leads to`);
  t.equal((await bench.keyhole(['up', '0'])).status, 0, 'up twice is no error');
  await Promise.all([connectTo(paths[0]!), connectTo(paths[1]!)]);
  t.equal(active(bench), 2);
  t.match((await bench.keyhole(['status'])).text, new RegExp(`^0 +${paths[0]} +box:80 +1 +1 +4 B +4 B `, 'm'));

  t.equal((await bench.keyhole(['down', '0'])).text, '0: down\n');
  t.equal(active(bench), 1, 'its session has ended, the other has not');
  const unknown = await bench.keyhole(['down', '0']);
  t.equal(unknown.status, 1);
  t.match(unknown.stderr, 'no tunnel 0 is up');
  t.match((await bench.keyhole(['up', 'on'])).stderr, 'has no tunnel "on"');

  t.equal((await bench.keyhole(['daemon', 'stop'])).status, 0);
  t.equal(active(bench), 0, 'with the daemon it ends, and its session');
  await bench.gone();
});

t.test('for people there is a line for each tunnel and connection, and the totals; -q leaves the first', async (t) => {
  const bench = await openBench(t);
  const [host] = bench.instances;
  const start = (...args: string[]) => bench.start(keyhole, ['forward', ...args], { input: 'open', timeoutMs: 60_000 });
  const path = join(bench.home, 'echo.sock');
  const run = async (...args: string[]) => {
    const running = start(...args, '--', host!, `${path}:80`, `${path}2:9`);
    await until('it listens', () => running.stdout().includes(`${path}2 leads`), 20_000);
    (await connectTo(path)).destroy();
    await ask(`${path}2`, 'word');
    await until('both are over', async () => {
      const ends = (await bench.status())!.forwards[0]!.ends;
      return ends.every(({ connections, connectionsInAll }) => connections === 0 && connectionsInAll === 1);
    });
    kill(running.pid, 'SIGINT');
    const { status, text, stderr } = await running.exit;
    t.same([status, stderr], [0, '']);
    return text
      .replaceAll(path, 'SOCKET')
      .replaceAll(/after \d+ s/g, 'after N s')
      .trimEnd()
      .split('\n')
      .sort();
  };
  const listening = [`SOCKET leads to port 80 of ${host}`, `SOCKET2 leads to port 9 of ${host}`];
  const all = [
    ...listening,
    'SOCKET #1 opened from a unix socket',
    'SOCKET #1 closed after N s; 4 B sent, 4 B received',
    'SOCKET2 #1 opened from a unix socket',
    'SOCKET2 #1 failed: the agent could not connect to the port after N s; 4 B sent, 0 B received',
    'SOCKET2 #1 hint: does anything listen there, and may the instance reach it?',
    '2 connections, 1 failed; 8 B sent, 4 B received',
  ];
  t.same(await run(), all.sort());
  t.same(await run('-q'), listening.sort());
  await bench.idle();
});

t.test('what can not be listened on is said, and no daemon stays busy with it', async (t) => {
  const bench = await openBench(t);
  const taken = createServer().listen(0, '127.0.0.1');
  t.teardown(() => taken.close());
  await until('it listens', () => taken.address() !== null);
  const { port } = taken.address() as { port: number };
  const attempt = async (...args: string[]) => {
    const { status, stderr } = await bench.keyhole(['forward', bench.instances[0]!, ...args]);
    return `${status} ${stderr}`;
  };
  t.match(await attempt(`${port}:80`), /^1 keyhole: 127\.0\.0\.1:\d+ is in use already\nkeyhole: hint: .*0 for any/);
  t.match(await attempt('0.0.0.0:0:80'), /^2 keyhole: 0\.0\.0\.0:0 can be reached by other machines\n.*--expose/);
  t.match(await attempt('80:x:y:80'), /^2 keyhole: "80:x:y:80" does not say/);
  t.match(await attempt('--forward-idle-timeout=soon', '80'), /^2 keyhole: --forward-idle-timeout is "soon"/);
  const exposed = await startForward(bench, ['--expose', bench.instances[0]!, '0.0.0.0:0:80']);
  await exposed.interrupt();
  await bench.idle();
});

t.test('each connection has a session of its own where a setting says so, or IAM', async (t) => {
  const bench = await openBench(t);
  const [host] = bench.instances;
  const separate = await startForward(bench, ['--forward-sessions=separate', host!, '0:80']);
  const pair = [await connectTo(separate.ports[0]!), await connectTo(separate.ports[0]!)];
  t.same(documents(bench), ['AWS-StartSSHSession', 'AWS-StartSSHSession']);
  for (const socket of pair) socket.destroy();
  await until('each ends with its connection', () => active(bench) === 0);
  await separate.interrupt();

  bench.region.identities.setPolicies(bench.env.AWS_ACCESS_KEY_ID!, [
    {
      Version: '2012-10-17',
      Statement: [
        { Effect: 'Allow', Action: '*', Resource: '*' },
        { Effect: 'Deny', Action: 'ssm:StartSession', Resource: 'arn:aws:ssm:*:*:document/AWS-StartPort*' },
      ],
    },
  ]);
  const denied = await startForward(bench, [host!, '0:80', '0:db.internal:80']);
  await connectTo(denied.ports[0]!);
  t.same(documents(bench).slice(2), ['AWS-StartSSHSession']);
  t.equal((await ask(denied.ports[1]!, 'word')).code, 'ECONNRESET', 'another machine needs the other document');
  await until('it is said', () => JSON.stringify(denied.events()).includes('access-denied'));
  await denied.interrupt();
  await bench.idle();
});

t.test('an instance without SSM is reached through an endpoint, on ports 22 and 3389', async (t) => {
  const bench = await openBench(t, {
    node: { online: false },
    region: { endpoints: [{ endpointId: 'eice-0123456789abcdef0' }] },
  });
  const tunnel = await startForward(bench, ['--wait=0', bench.instances[0]!, '0:22', '0:3389', '0:80']);
  const ssh = open(tunnel.ports[0]!);
  const banner = await new Promise((resolve) => ssh.once('data', (bytes: Buffer) => resolve(String(bytes))));
  t.match(banner, /^SSH-2\.0-/);
  await connectTo(tunnel.ports[1]!);
  t.equal(bench.region.tunnels.length, 2);
  t.equal((await ask(tunnel.ports[2]!, 'word')).code, 'ECONNRESET', 'other ports are not');
  ssh.destroy();
  await tunnel.interrupt();
  await bench.idle();
});
