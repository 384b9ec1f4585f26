// What people do with ssh, through keyhole: forwards, jumps, shared connections, scripts, git.
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { type Bench, instanceId, nodeId, openBench } from './fixture.ts';
import { freePort, roundTrip, socksHello, throughForward } from './forwarding.ts';
import { pattern, startRaw } from './raw.ts';
import { makeFile, sha256 } from './transfer.ts';

/** The bytes come through a forward, and nothing is left of it. */
async function forwarding(
  t: Test,
  bench: Bench,
  args: string[],
  port: number,
  use: () => Promise<Buffer>,
): Promise<void> {
  const { used, stderr } = await throughForward(bench, args, instanceId, port, use);
  t.ok(used.equals(payload), 'the bytes come through');
  t.equal(stderr, '');
  await bench.gone();
}

const payload = pattern(100_000, 3);

t.test('forwards', async (t) => {
  const bench = await openBench(t);
  if (bench.sshd.kind !== 'openssh') return t.comment('the embedded sshd does not forward');
  const echo = await startRaw(t, (socket) => void socket.on('data', (bytes) => socket.write(bytes)));
  t.test('-L', async (t) => {
    const port = await freePort();
    const args = ['-L', `127.0.0.1:${port}:127.0.0.1:${echo.port}`];
    await forwarding(t, bench, args, port, () => roundTrip(port, payload));
  });
  t.test('-R', async (t) => {
    const port = await freePort();
    const args = ['-R', `127.0.0.1:${port}:127.0.0.1:${echo.port}`];
    await forwarding(t, bench, args, port, () => roundTrip(port, payload));
  });
  t.test('-D', async (t) => {
    const port = await freePort();
    const hello = socksHello(echo.port);
    await forwarding(t, bench, ['-D', `127.0.0.1:${port}`], port, () => roundTrip(port, payload, hello));
  });
});

t.test('-J through one instance to a name behind it, and through two', async (t) => {
  const bench = await openBench(t);
  if (bench.sshd.kind !== 'openssh') return t.comment('the embedded sshd does not forward');
  const inner = `
Host inner
  HostName 127.0.0.1
  Port ${bench.sshd.port}
  HostKeyAlias ${instanceId}
  User ${bench.sshd.user}
  IdentityFile ${bench.path('identity')}
  IdentitiesOnly yes
  UserKnownHostsFile ${bench.path('known_hosts')}
  StrictHostKeyChecking yes
`;
  appendFileSync(bench.config, inner);
  const works = { status: 0, text: 'works\n', stderr: '' };
  t.match(await bench.ssh(['-J', instanceId, 'inner', 'echo works']), works);
  t.equal(bench.region.sessions.length, 1);
  await bench.gone();
  const file = makeFile(bench, 'file', 1_000_000);
  t.match(await bench.run('scp', ['-F', bench.config, '-J', instanceId, file, `inner:${bench.path('copy')}`]), {
    status: 0,
  });
  t.equal(await sha256(bench.path('copy')), await sha256(file));
  await bench.gone();
});

t.test('ControlMaster: later commands share the first one’s session, and ControlPersist ends it', async (t) => {
  const bench = await openBench(t);
  const socket = bench.path('control');
  const shared = ['-o', 'ControlMaster=auto', '-o', `ControlPath=${socket}`, '-o', 'ControlPersist=2s', instanceId];
  // The master keeps stderr; so nobody waits for its end.
  const command = ['-F', bench.config, ...shared, 'echo works'].map((word) => `'${word}'`).join(' ');
  t.match(await bench.run('sh', ['-c', `ssh ${command} 2>/dev/null`]), { status: 0, text: 'works\n' });
  for (const status of [0, 7]) t.match(await bench.ssh([...shared, `exit ${status}`]), { status });
  t.equal(bench.region.sessions.length, 1);
  await bench.gone(2_000 + 3_000);
});

t.test('-f -N goes to the background, and -O exit ends it', async (t) => {
  const bench = await openBench(t);
  const socket = bench.path('control');
  const start = `ssh -F '${bench.config}' -f -N -M -S '${socket}' ${instanceId} >/dev/null 2>&1`;
  t.match(await bench.run('sh', ['-c', start]), { status: 0 });
  t.equal(bench.proxies().length, 1, 'the tunnel outlives the command');
  t.match(await bench.ssh(['-S', socket, instanceId, 'echo works']), { status: 0, text: 'works\n' });
  t.match(await bench.ssh(['-S', socket, '-O', 'exit', instanceId]), { status: 0 });
  await bench.gone();
});

t.test('commands', async (t) => {
  const bench = await openBench(t);
  const works = { status: 0, text: 'works\n', stderr: '' };
  t.match(await bench.ssh(['-T', instanceId, 'sh'], { input: 'cd / && echo works\n' }), works, 'a script on stdin');
  t.match(await bench.ssh(['-T', instanceId], { input: 'echo works >&2; exit 3\n' }), {
    status: 3,
    text: /^(?!.*works)/s,
  });
  for (const status of [1, 42, 255]) t.match(await bench.ssh([instanceId, `exit ${status}`]), { status, stderr: '' });
  const both = await bench.ssh([instanceId, 'echo out; echo err >&2']);
  t.match(both, { status: 0, text: 'out\n', stderr: 'err\n' }, 'both streams, kept apart');
  t.match(await bench.ssh([nodeId, 'cat'], { input: payload }), { status: 0, stdout: payload }, 'both ways');
  const many = await bench.ssh([instanceId, 'i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done']);
  t.equal(many.text, Array.from({ length: 20_000 }, (_, line) => `line ${line}\n`).join(''), 'the last word included');
  await bench.gone();
});

t.test('git clones and pushes', async (t) => {
  const bench = await openBench(t);
  const origin = bench.path('origin.git');
  const env = {
    GIT_SSH_COMMAND: `ssh -F ${bench.config}`,
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_SYSTEM: '/dev/null',
    ...Object.fromEntries(
      ['AUTHOR', 'COMMITTER'].flatMap((who) => [
        [`GIT_${who}_NAME`, 'a'],
        [`GIT_${who}_EMAIL`, 'a@example.com'],
      ]),
    ),
  };
  const git = async (...args: string[]) => {
    const result = await bench.run('git', args, { env });
    t.equal(result.status, 0, `git ${args[0] === '-C' ? args[2] : args[0]}: ${result.stderr}`);
    return result;
  };
  await git('init', '-q', '--bare', '-b', 'main', origin);
  const first = bench.path('first');
  const url = `ssh://${bench.sshd.user}@${instanceId}${origin}`;
  await git('clone', '-q', url, first);
  writeFileSync(`${first}/file`, pattern(500_000, 5));
  await git('-C', first, 'checkout', '-q', '-b', 'main');
  await git('-C', first, 'add', 'file');
  await git('-C', first, 'commit', '-q', '-m', 'a file');
  await git('-C', first, 'push', '-q', 'origin', 'main');
  await git('clone', '-q', '-b', 'main', url, bench.path('second'));
  t.ok(readFileSync(bench.path('second/file')).equals(pattern(500_000, 5)));
  await bench.gone();
});
