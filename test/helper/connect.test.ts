// A helper that looks for the daemon: with real daemons, started from the sources, and with servers that behave badly.
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/clock.ts';
import { FrameType } from '../../src/control/frame.ts';
import { ControlLink } from '../../src/control/link.ts';
import { type Hello, parseHello, protocolVersion } from '../../src/control/message.ts';
import { KeyholeError } from '../../src/errors.ts';
import { connectDaemon, connectPrivateDaemon, findDaemon, isOlder } from '../../src/helper/connect.ts';
import { version } from '../../src/version.ts';
import { ManualClock, turn } from '../manual-clock.ts';
import { shortFolder } from '../unix-sockets.ts';

// The daemon is this process's own program run again.
process.argv[1] = resolve(import.meta.dirname, '../../src/main.ts');

const signal = () => AbortSignal.timeout(20_000);

function setUp(t: Test) {
  const home = shortFolder(t);
  const sshDir = join(home, '.ssh', 'keyhole');
  const env = {
    PATH: process.env.PATH,
    HOME: home,
    AWS_SECRET_ACCESS_KEY: 'hunter2',
    KEYHOLE_LOG_LEVEL: 'debug',
  };
  const connect = (more: { signal?: AbortSignal; clock?: ManualClock } = {}) =>
    connectDaemon({ sshDir, env, clock: systemClock, signal: signal(), ...more });
  t.teardown(async () => {
    const found = await findDaemon({ sshDir, clock: systemClock, signal: signal() }).catch(() => undefined);
    if (found === undefined) return;
    found.link.send(FrameType.retire, { how: 'stop', reason: 'the test is over' });
    await found.link.receive().catch(() => {});
    found.link.socket.destroy();
    await gone(found.hello.pid);
  });
  return { home, sshDir, env, connect };
}

async function gone(pid: number): Promise<void> {
  while (existsSync(`/proc/${pid}`)) await new Promise((done) => setTimeout(done, 10));
}

/** Asks a daemon who it is. */
async function pidOf(link: ControlLink): Promise<number> {
  link.send(FrameType.status);
  const { body } = await link.receive();
  link.socket.destroy();
  return body.pid as number;
}

/** Something that listens in the daemon's place. */
async function serve(t: Test, sshDir: string, onLink: (link: ControlLink) => void): Promise<void> {
  mkdirSync(sshDir, { recursive: true, mode: 0o700 });
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    onLink(new ControlLink(socket));
  });
  server.listen(join(sshDir, 'control.sock'));
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
}

const greet = (link: ControlLink, hello: Partial<Hello> = {}) =>
  link.send(FrameType.hello, { protocol: protocolVersion, version, pid: process.pid, ...hello });

t.test('thirty that find no daemon start one', async (t) => {
  const { connect, home, sshDir } = setUp(t);
  const links = await Promise.all(Array.from({ length: 30 }, () => connect()));
  const pids = new Set(await Promise.all(links.map(pidOf)));
  t.equal(pids.size, 1);
  const [pid] = [...pids];
  t.notOk(existsSync(join(sshDir, 'start.lock')));
  const log = readFileSync(join(home, '.local/state/keyhole/daemon.log'), 'utf8');
  t.equal(log.match(/daemon listens/g)?.length, 1);

  t.test('it has a session of its own, no folder, no terminal, and nothing of AWS in its environment', async (t) => {
    const environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
    t.notMatch(environment, /AWS_|hunter2/);
    t.match(environment, /KEYHOLE_LOG_LEVEL=debug/);
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    t.equal(stat[3], String(pid), 'leader of its session');
    t.equal(stat[4], '0', 'without a terminal');
    t.match(readFileSync(`/proc/${pid}/status`, 'utf8'), /^Umask:\t0077$/m);
  });

  t.test('a second one that is started by hand goes and leaves the first one its sockets', async (t) => {
    const { spawnSync } = await import('node:child_process');
    const child = spawnSync(process.execPath, [process.argv[1]!, 'daemon', 'run'], {
      env: { PATH: process.env.PATH, HOME: home },
      encoding: 'utf8',
    });
    t.equal(child.status, 1);
    t.match(child.stderr, /^keyhole: a daemon is running already\n/);
    t.ok(existsSync(join(sshDir, 'agent.sock')));
    t.equal(await pidOf(await connect()), pid);
  });

  t.test('killed, it is replaced at once, and what it left is no hindrance', async (t) => {
    process.kill(pid!, 'SIGKILL');
    await gone(pid!);
    t.ok(existsSync(join(sshDir, 'control.sock')));
    writeFileSync(join(sshDir, 'start.lock'), String(pid));
    const next = await pidOf(await connect());
    t.not(next, pid);
  });
});

t.test('a folder of agent sockets that is open to others is named, and no daemon is started', async (t) => {
  const { connect, sshDir } = setUp(t);
  mkdirSync(join(sshDir, 'agent'), { recursive: true, mode: 0o700 });
  chmodSync(join(sshDir, 'agent'), 0o777);
  await t.rejects(connect(), { code: 'unsafe-folder', message: /agent is open to others/, hint: /chmod 700/ });
  t.notOk(existsSync(join(sshDir, 'start.lock')));
});

t.test('an older daemon is asked to drain, and a newer one is started', async (t) => {
  const { connect, sshDir } = setUp(t);
  const asked: unknown[] = [];
  await serve(t, sshDir, async (link) => {
    greet(link, { version: '0.0.1' });
    try {
      parseHello((await link.receive()).body);
      asked.push((await link.receive()).body);
      link.send(FrameType.done);
      // As a daemon does that drains: nobody can find it any more.
      const { unlinkSync } = await import('node:fs');
      unlinkSync(join(sshDir, 'control.sock'));
    } catch {
      // The question whether anybody listens.
    }
  });
  const pid = await pidOf(await connect());
  t.not(pid, process.pid);
  t.strictSame(asked, [{ how: 'drain', reason: `version ${version} takes over` }]);
});

t.test('a newer daemon that speaks our protocol will do; one that does not is left alone', async (t) => {
  const { connect, sshDir } = setUp(t);
  let hello: Partial<Hello> = { version: '999.0.0' };
  const frames: number[] = [];
  await serve(t, sshDir, async (link) => {
    greet(link, hello);
    while (!link.closed.aborted)
      await link.receive().then(
        ({ type }) => frames.push(type),
        () => {},
      );
  });
  (await connect()).socket.destroy();
  hello = { version: '999.0.0', protocol: protocolVersion + 1 };
  await t.rejects(connect(), { code: 'daemon-newer', message: /999\.0\.0/ });
  t.notOk(frames.includes(FrameType.retire));
});

t.test('a daemon that says nothing is not waited for, and one that only closes is tried again', async (t) => {
  const { connect, sshDir } = setUp(t);
  let behaviour: (link: ControlLink) => void = () => {};
  let connections = 0;
  await serve(t, sshDir, (link) => {
    connections += 1;
    behaviour(link);
  });
  const clock = new ManualClock();
  const waiting = connect({ clock });
  waiting.catch(() => {});
  while (connections === 0) await turn();
  await clock.advance(4_000);
  await t.rejects(waiting, { code: 'daemon-silent' });
  t.equal(clock.pending, 0);

  behaviour = (link) => {
    if (connections < 5) link.socket.destroy();
    else greet(link);
  };
  (await connect()).socket.destroy();
  t.equal(connections, 5);
});

t.test('whoever gives up is let go at once, whatever is being waited for', async (t) => {
  const { connect, sshDir } = setUp(t);
  let connections = 0;
  await serve(t, sshDir, () => {
    connections += 1;
  });
  const stop = new AbortController();
  const waiting = connect({ signal: stop.signal });
  waiting.catch(() => {});
  while (connections === 0) await turn();
  stop.abort(new KeyholeError('deadline', 'too late'));
  await t.rejects(waiting, { code: 'deadline' });
  await t.rejects(connect({ signal: AbortSignal.abort(new KeyholeError('deadline', 'too late')) }), {
    code: 'deadline',
  });
});

t.test('a daemon that ends while it starts is told of soon, not after the whole wait', async (t) => {
  const { connect, home } = setUp(t);
  const main = process.argv[1]!;
  process.argv[1] = join(home, 'missing.js');
  t.teardown(() => {
    process.argv[1] = main;
  });
  const since = performance.now();
  await t.rejects(connect(), { code: 'daemon-start', message: /ends as soon as it is started/ });
  t.ok(performance.now() - since < 6_000, `${Math.round(performance.now() - since)} ms`);
});

t.test('a bad setting in the file of the user does not keep the daemon from starting', async (t) => {
  const { connect, home } = setUp(t);
  mkdirSync(join(home, '.config/keyhole'), { recursive: true });
  writeFileSync(join(home, '.config/keyhole/config.toml'), 'deadline = "soon"\n');
  t.type(await pidOf(await connect()), 'number');
  t.match(readFileSync(join(home, '.local/state/keyhole/daemon.log'), 'utf8'), /settings not used code=bad-setting/);
});

t.test('a folder that others can enter is refused, and nothing is started', async (t) => {
  const { connect, sshDir, home } = setUp(t);
  mkdirSync(sshDir, { recursive: true });
  chmodSync(sshDir, 0o770);
  await t.rejects(connect(), { code: 'unsafe-folder' });
  t.notOk(existsSync(join(home, '.local')));
});

t.test('a path too long for a socket is refused before anything is made', async (t) => {
  const { home, env } = setUp(t);
  const sshDir = join(home, 'x'.repeat(100));
  await t.rejects(connectDaemon({ sshDir, env, clock: systemClock, signal: signal() }), { code: 'socket-path' });
  t.notOk(existsSync(sshDir));
});

t.test('a daemon for one connection ends with it, and leaves the general agent socket alone', async (t) => {
  const { connect, env, sshDir } = setUp(t);
  (await connect()).socket.destroy();
  const { readdirSync, statSync } = await import('node:fs');
  const before = statSync(join(sshDir, 'agent.sock')).ino;
  const link = await connectPrivateDaemon({ env, clock: systemClock, signal: signal() });
  link.send(FrameType.status);
  const pid = (await link.receive()).body.pid as number;
  t.notMatch(readFileSync(`/proc/${pid}/environ`, 'utf8'), /AWS_|hunter2/);
  link.socket.destroy();
  await gone(pid);
  t.equal(statSync(join(sshDir, 'agent.sock')).ino, before);
  t.strictSame(readdirSync(sshDir).sort(), ['agent', 'agent.sock', 'control.sock']);
});

t.test('versions are compared by their numbers', async (t) => {
  t.ok(isOlder('0.9.9', '0.10.0'));
  t.ok(isOlder('1.2.3', '2.0.0'));
  t.notOk(isOlder('1.2.3', '1.2.3'));
  t.notOk(isOlder('1.10.0', '1.9.9'));
  t.notOk(isOlder('nonsense', '0.0.0'));
});
