// The daemon's life: how it starts, makes room for a newer one, and goes; and what one can ask it (issue 3).
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { commandLine, type DaemonBench, environment, kill, openDaemonBench, works } from './daemon-bench.ts';
import { keyhole, until } from './fixture.ts';
import { pattern } from './raw.ts';

async function startSsh(bench: DaemonBench, command = 'echo started; exec cat') {
  const ssh = bench.start('ssh', ['-F', bench.config, bench.instances[0]!, command], { input: 'open' });
  await until('ssh talks', () => ssh.stdout().includes('started'), 20_000, ssh.stderr);
  return ssh;
}

t.test('starting', async (t) => {
  t.test('helpers that come together start one daemon, which keeps nothing of who started it', async (t) => {
    const bench = await openDaemonBench(t);
    const results = await Promise.all([1, 2, 3].map(() => bench.works({ cwd: bench.folder })));
    for (const result of results) t.match(result, works);
    const [daemon, ...others] = bench.daemons();
    t.same(others, []);
    t.equal(bench.log().match(/daemon listens/g)?.length, 1);
    const cwd = spawnSync('readlink', [`/proc/${daemon}/cwd`], { encoding: 'utf8' }).stdout.trim();
    t.equal(cwd, '/', 'not its folder');
    const ids = readFileSync(`/proc/${daemon}/stat`, 'latin1').split(') ')[1]!.split(' ');
    t.equal(Number(ids[2]), daemon, 'not its process group');
    t.equal(Number(ids[3]), daemon, 'not its session');
    const descriptors = spawnSync(
      'readlink',
      [0, 1, 2].map((fd) => `/proc/${daemon}/fd/${fd}`),
      { encoding: 'utf8' },
    );
    t.equal(descriptors.stdout, '/dev/null\n'.repeat(3), 'not its descriptors');
    t.notOk(existsSync(join(bench.sshDir, 'start.lock')));
  });

  t.test('a socket at which nobody listens, and a lock of a process that is gone, are in nobody’s way', async (t) => {
    const bench = await openDaemonBench(t);
    mkdirSync(join(bench.sshDir, 'agent'), { recursive: true, mode: 0o700 });
    for (const name of ['control.sock', 'agent.sock', `agent/${bench.sshd.user}@${bench.instances[0]}:22`]) {
      await leaveSocket(join(bench.sshDir, name));
    }
    writeFileSync(join(bench.sshDir, 'start.lock'), String(spawnSync('true').pid));
    t.match(await bench.works(), works);
    t.equal(bench.daemons().length, 1);
    t.notOk(existsSync(join(bench.sshDir, 'start.lock')));
  });

  t.test('where the control socket was removed, the next ssh starts another, and the first one goes', async (t) => {
    const bench = await openDaemonBench(t);
    const ssh = await startSsh(bench);
    const [first] = bench.daemons();
    rmSync(join(bench.sshDir, 'control.sock'));
    t.match(await bench.works(), works);
    t.equal(bench.daemons().length, 2, 'the first one still has a tunnel');
    ssh.child.stdin.end();
    t.match(await ssh.exit, { status: 0, stderr: '' });
    await until('the first daemon is gone', () => !bench.daemons().includes(first!));
    t.match(await bench.works(), works);
    t.equal(bench.daemons().length, 1);
  });
});

/** A socket file as a process that was killed leaves it. */
async function leaveSocket(path: string): Promise<void> {
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', script]);
  if (!existsSync(path)) throw new Error(`no socket at ${path}`);
}

t.test('a newer version takes over while a transfer runs, which ends well on the old one', async (t) => {
  const bench = await openDaemonBench(t, { env: { KEYHOLE_NODE: process.execPath } });
  const newer = copyAsVersion(bench, '99.0.0');
  const copy = bench.path('copy');
  const bytes = pattern(8_000_000, 7);
  const transfer = await startSsh(bench, `echo started; exec cat >'${copy}'`);
  transfer.child.stdin.write(bytes.subarray(0, 5_000_000));
  const [old] = bench.daemons();
  t.equal((await bench.status())?.version, JSON.parse(readFileSync('package.json', 'utf8')).version);

  bench.configure({ program: newer });
  t.match(await bench.works(), works);
  const status = await bench.status();
  t.match(status, { version: '99.0.0', leftSessions: [] });
  t.same(new Set(bench.daemons()), new Set([old, status?.pid]), 'both are there');
  t.ok(bench.region.sessions[0]!.active, 'the successor has not ended the session of the old one');

  transfer.child.stdin.end(bytes.subarray(5_000_000));
  t.match(await transfer.exit, { status: 0, stderr: '' });
  t.ok(readFileSync(copy).equals(bytes), 'every byte has come');
  await until('the old daemon is gone', () => !bench.daemons().includes(old!));

  bench.configure();
  const older = await bench.works();
  t.match(older, works, 'a helper of the older version works too');
  t.same(bench.daemons(), [status?.pid], 'by the newer daemon');
});

/** A copy of dist that calls itself another version. */
function copyAsVersion(bench: DaemonBench, version: string): string {
  const dist = bench.path('newer/dist');
  cpSync(dirname(keyhole), dist, { recursive: true });
  const { version: own } = JSON.parse(readFileSync('package.json', 'utf8'));
  // Compiled from what is replaced here.
  rmSync(join(dist, 'lib/code'), { recursive: true });
  let replaced = 0;
  for (const name of readdirSync(join(dist, 'lib'))) {
    const file = join(dist, 'lib', name);
    const text = readFileSync(file, 'latin1');
    const other = text.replaceAll(`"${own}"`, `"${version}"`).replaceAll(`'${own}'`, `'${version}'`);
    if (other === text) continue;
    writeFileSync(file, other, 'latin1');
    replaced += 1;
  }
  // Of Node's helper and of perl's.
  if (replaced < 2) throw new Error('the version is not where it was');
  return join(dist, 'keyhole');
}

t.test('ending', async (t) => {
  t.test('after idle_timeout without a tunnel', async (t) => {
    const bench = await openDaemonBench(t, { env: { KEYHOLE_IDLE_TIMEOUT: '1s' } });
    const ssh = await startSsh(bench);
    const opened = performance.now();
    await until('more than that time is over', () => performance.now() - opened > 1_300);
    t.equal(bench.daemons().length, 1, 'it stays while a tunnel is open, idle as that is');
    ssh.child.stdin.end();
    t.match(await ssh.exit, { status: 0 });
    await until('the daemon is gone', () => bench.daemons().length === 0, 4_000);
    t.same(bench.sockets(), []);
    t.match(await bench.works(), works, 'and the next ssh starts another');
  });

  t.test('by SIGTERM, with its tunnels and their sessions', async (t) => {
    const bench = await openDaemonBench(t);
    const ssh = await startSsh(bench);
    kill(bench.daemons()[0]!, 'SIGTERM');
    await bench.gone();
    t.same(bench.sockets(), []);
    t.match(await ssh.exit, { status: 255 });
  });

  t.test('by kill -9: the next one ends what it left, where the settings can be found again', async (t) => {
    const bench = await openDaemonBench(t);
    const ssh = await startSsh(bench);
    kill(bench.daemons()[0]!, 'SIGKILL');
    await ssh.exit;
    const credentials = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'].map((name) => [name, bench.env[name]!]);
    for (const [name] of credentials) delete bench.env[name!];

    t.match(await bench.keyhole(['daemon', 'start']), { status: 0 });
    const { sessionId, target } = bench.region.sessions[0]!;
    t.match((await bench.status())?.leftSessions, [{ sessionId, target, region: bench.region.region }]);
    t.match((await bench.keyhole(['status'])).text, new RegExp(`could not be ended:\\n  ${sessionId} to ${target}`));

    // Credentials that were in the environment only come back with their user.
    Object.assign(bench.env, Object.fromEntries(credentials));
    t.match(await bench.works(), works);
    await bench.idle();
    t.same((await bench.status())?.leftSessions, []);
  });
});

t.test('daemon start, stop, logs; status and why', async (t) => {
  const bench = await openDaemonBench(t);
  t.match(await bench.keyhole(['status']), {
    status: 0,
    text: 'no daemon is running; the first connection starts one\n',
  });
  t.equal(await bench.status(), null);
  t.match(await bench.keyhole(['daemon', 'stop']), { status: 0, text: 'no daemon is running\n' });
  t.match(await bench.keyhole(['why']), { status: 0, text: 'no failure is recorded\n' });
  t.same(await bench.failures(), []);
  t.same(bench.daemons(), [], 'asking starts none');

  t.match(await bench.keyhole(['daemon', 'start']), { status: 0, text: 'the daemon is running\n', stderr: '' });
  t.match(await bench.keyhole(['daemon', 'start']), { status: 0, text: 'the daemon is running\n', stderr: '' });
  const [daemon] = bench.daemons();
  t.match(await bench.status(), { pid: daemon!, tunnels: [], pushes: [], leftSessions: [], draining: false });
  t.same(bench.sockets(), ['agent.sock', 'control.sock']);
  t.match((await bench.keyhole(['daemon', 'logs'])).text, /daemon listens/);
  t.match(commandLine(daemon!).at(-1), 'run');
  t.same(
    environment(daemon!).filter((entry) => entry.startsWith('AWS_')),
    [],
  );

  const ssh = await startSsh(bench);
  const { text } = await bench.keyhole(['status']);
  t.match(
    text,
    new RegExp(`daemon \\S+, pid ${daemon}, \\d+ MiB, up \\d+ s\n\nHOST.*\n${bench.instances[0]} +22 .* open +ssm `),
  );
  t.match(await bench.keyhole(['daemon', 'stop']), { status: 0, text: 'the daemon has stopped\n', stderr: '' });
  t.match(await ssh.exit, { status: 255 });
  await bench.gone();
  t.match((await bench.keyhole(['daemon', 'logs'])).text, /daemon ends/, 'the log outlives it');
});

t.test('why tells what nobody saw', async (t) => {
  const bench = await openDaemonBench(t);
  const unknown = 'i-00000000000000000';
  const hidden = ['-o', 'ControlMaster=auto', '-o', `ControlPath=${bench.path('c')}`, '-o', 'ControlPersist=1s', '-q'];
  const result = await bench.run('sh', [
    '-c',
    `ssh -F '${bench.config}' ${hidden.join(' ')} ${unknown} true 2>/dev/null`,
  ]);
  t.match(result, { status: 255, stderr: '' });
  const failures = await bench.failures();
  t.match(
    failures.find(({ code }) => code === 'target-not-connected'),
    { host: unknown, port: '22', hint: String },
  );
  t.match(
    (await bench.keyhole(['why', unknown])).text,
    /target-not-connected\n {2}i-0{17} is not connected.*\n {2}hint: /,
  );
  t.match(await bench.keyhole(['why', bench.instances[0]!]), { text: /no failure is recorded of i-/ });
  await bench.stop();
  t.same(await bench.failures(), failures, 'kept across daemons');

  t.comment('a push that is refused does not fail the connection, but the login has no key then');
  bench.region.identities.denials.push({ action: 'ec2-instance-connect:SendSSHPublicKey' });
  t.match(await bench.works(), { status: 255, stderr: /Permission denied \(publickey\)/ });
  const failed = (await bench.failures()).at(-1);
  t.match(failed, { host: bench.instances[0]!, message: /SendSSHPublicKey/, hint: /./ });
  t.match((await bench.status())?.pushes, [{ state: 'failed', code: failed!.code }]);
  t.match((await bench.keyhole(['status'])).text, /keys that could not be pushed:\n {2}\S+@i-/);
});
