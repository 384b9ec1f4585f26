// What people do with ssh, its connection being the daemon's socket: agents and keys, forwards, jumps, shared connections
// (issue 3). Most of it logs in by the pushed key alone.
import { spawnSync } from 'node:child_process';
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type DaemonBench, makeKey, openDaemonBench, works } from './daemon-bench.ts';
import { type Running, until } from './fixture.ts';
import { freePort, roundTrip, socksHello, throughForward } from './forwarding.ts';
import { pattern, startRaw } from './raw.ts';
import { makeFile, sha256 } from './transfer.ts';

const payload = pattern(100_000, 3);

/** The user's own ssh-agent with one key, which may log in where `authorized` says so. */
async function startAgent(t: Test, bench: DaemonBench, keyFile: string): Promise<{ SSH_AUTH_SOCK: string }> {
  const socket = bench.path('own-agent');
  const agent: Running = bench.start('ssh-agent', ['-D', '-a', socket], { input: 'open', timeoutMs: 200_000 });
  t.teardown(() => agent.child.kill());
  const env = { SSH_AUTH_SOCK: socket };
  await until('the agent has the key', async () => (await bench.run('ssh-add', [keyFile], { env })).status === 0);
  return env;
}

t.test('keys and agents', async (t) => {
  const bench = await openDaemonBench(t);
  const own = makeKey(t);
  const env = await startAgent(t, bench, own.file);
  const listed = 'ssh-add -l 2>&1';

  t.match(await bench.works({ env: { SSH_AUTH_SOCK: undefined } }), works, 'no agent at all');
  t.match(await bench.works({ env: { SSH_AUTH_SOCK: bench.path('nothing') } }), works, 'an agent that is gone');

  const talk = await bench.works({ env }, ['-v']);
  const attempts = [...talk.stderr.matchAll(/Will attempt key: (\S*)/g)].map(([, name]) => name);
  t.same(attempts, ['keyhole', 'own'], 'our key first, then those of the user’s own agent');

  const forwarded = await bench.ssh(['-A', bench.instances[0]!, listed], { env });
  t.match(forwarded, { text: /^256 \S+ own \(ED25519\)\n$/ }, '-A: the other side sees the user’s own keys alone');
  const alone = await bench.ssh(['-A', bench.instances[0]!, listed], { env: { SSH_AUTH_SOCK: undefined } });
  t.match(alone, { text: 'The agent has no identities.\n' }, '-A without an agent: none');
  await bench.idle();
});

t.test('keys of one’s own', async (t) => {
  const own = makeKey(t);
  const bench = await openDaemonBench(t, { authorizedKeys: [own.publicLine] });
  const refused = { status: 255, stderr: /Permission denied \(publickey\)/ };

  // Where nothing is pushed only the user's own key opens.
  const off = { KEYHOLE_PUSH: 'off' };
  t.match(await bench.works({ env: off }), refused, 'push = off, and no key');
  t.match(await bench.works({ env: off }, ['-i', own.file]), works, '-i');
  const env = await startAgent(t, bench, own.file);
  t.match(await bench.works({ env: { ...off, ...env } }), works, 'the key of the user’s own agent');
  t.equal(bench.region.pushes.length, 0);

  t.match(await bench.works({}, ['-i', own.file, '-o', 'IdentitiesOnly=yes']), works, 'IdentitiesOnly yes with -i');
  appendFileSync(bench.config, `\nHost *\n  IdentitiesOnly yes\n  IdentityFile ${makeKey(t).file}\n`);
  t.match(await bench.works(), works, 'IdentitiesOnly yes for all hosts, and no in keyhole’s block, which comes first');
  await bench.idle();
});

t.test('forwards', async (t) => {
  const bench = await openDaemonBench(t);
  if (bench.sshd.kind !== 'openssh') return t.comment('the embedded sshd does not forward');
  const echo = await startRaw(t, (socket) => void socket.on('data', (bytes) => socket.write(bytes)));
  const [host] = bench.instances;
  const cases: Record<string, (port: number) => [string[], [Buffer, number][]]> = {
    '-L': (port) => [['-L', `127.0.0.1:${port}:127.0.0.1:${echo.port}`], []],
    '-R': (port) => [['-R', `127.0.0.1:${port}:127.0.0.1:${echo.port}`], []],
    '-D': (port) => [['-D', `127.0.0.1:${port}`], socksHello(echo.port)],
  };
  for (const [name, make] of Object.entries(cases)) {
    const port = await freePort();
    const [args, hello] = make(port);
    const { used, stderr } = await throughForward(bench, args, host!, port, () => roundTrip(port, payload, hello));
    t.ok(used.equals(payload), name);
    t.equal(stderr, '', name);
  }
  const pipe = bench.start('ssh', ['-F', bench.config, '-W', `127.0.0.1:${echo.port}`, host!], { input: 'open' });
  pipe.child.stdin.write(payload);
  await until('the bytes are back', () => pipe.stdout().length === payload.length, 20_000, pipe.stderr);
  t.ok(pipe.stdout().equals(payload), '-W');
  pipe.child.kill('SIGTERM');
  await pipe.exit;
  await bench.idle();
});

t.test('-J, by the pushed key for the instance and a key of one’s own behind it', async (t) => {
  const own = makeKey(t);
  const bench = await openDaemonBench(t, { authorizedKeys: [own.publicLine] });
  if (bench.sshd.kind !== 'openssh') return t.comment('the embedded sshd does not forward');
  const [host] = bench.instances;
  appendFileSync(
    bench.config,
    `
Host inner
  HostName 127.0.0.1
  Port ${bench.sshd.port}
  HostKeyAlias ${host}
  User ${bench.sshd.user}
  IdentityFile ${own.file}
  IdentityAgent none
  UserKnownHostsFile ${bench.path('known_hosts')}
`,
  );
  t.match(await bench.works({}, ['-J', host!], 'inner'), works);
  t.equal(bench.region.sessions.length, 1);
  t.equal(bench.region.pushes.length, 1);
  await bench.idle();
});

t.test('shared connections', async (t) => {
  const bench = await openDaemonBench(t);
  const socket = bench.path('c');
  const [host] = bench.instances;
  const quoted = (args: string[]) => args.map((word) => `'${word}'`).join(' ');

  // The master keeps stderr; so nobody waits for its end.
  const shared = ['-o', 'ControlMaster=auto', '-o', `ControlPath=${socket}`, '-o', 'ControlPersist=2s', host!];
  const first = `ssh -F '${bench.config}' ${quoted([...shared, 'echo works'])} 2>/dev/null`;
  t.match(await bench.run('sh', ['-c', first]), { status: 0, text: 'works\n' });
  for (const status of [0, 7]) t.match(await bench.ssh([...shared, `exit ${status}`]), { status });
  t.equal(bench.region.sessions.length, 1, 'ControlMaster auto: one session for all');
  await bench.idle(2_000 + 3_000);

  const port = await freePort();
  const echo = await startRaw(t, (raw) => void raw.on('data', (bytes) => raw.write(bytes)));
  const forward = ['-f', '-N', '-M', '-S', socket, '-L', `127.0.0.1:${port}:127.0.0.1:${echo.port}`, host!];
  const start = `ssh -F '${bench.config}' ${quoted(forward)} >/dev/null 2>&1`;
  t.match(await bench.run('sh', ['-c', start]), { status: 0 });
  t.match(bench.proxies(), bench.daemons(), '-f -N -M: only the daemon is left of keyhole');
  t.equal(bench.activeSessions().length, 1, 'and the tunnel, although the ssh that asked for it has ended');
  if (bench.sshd.kind === 'openssh') t.ok((await roundTrip(port, payload)).equals(payload));
  t.match(await bench.ssh(['-S', socket, host!, 'echo works']), { status: 0, text: 'works\n' });
  t.match(await bench.ssh(['-S', socket, '-O', 'exit', host!]), { status: 0 });
  await bench.idle();
});

t.test('scp, sftp and what is said to both streams', async (t) => {
  const bench = await openDaemonBench(t);
  const [host] = bench.instances;
  const file = makeFile(bench, 'file', 3_000_000);
  const sum = await sha256(file);
  t.match(await bench.run('scp', ['-q', '-F', bench.config, file, `${host}:${bench.path('up')}`]), {
    status: 0,
    stderr: '',
  });
  t.equal(await sha256(bench.path('up')), sum, 'scp up');
  const batch = `get ${bench.path('up')} ${bench.path('down')}\n`;
  t.match(await bench.run('sftp', ['-q', '-F', bench.config, '-b', '-', host!], { input: batch }), {
    status: 0,
    stderr: '',
  });
  t.equal(await sha256(bench.path('down')), sum, 'sftp down');
  t.match(await bench.ssh([host!, 'echo out; echo err >&2; exit 42']), { status: 42, text: 'out\n', stderr: 'err\n' });
  t.match(await bench.ssh([host!, 'cat'], { input: payload }), { status: 0, stdout: payload, stderr: '' });
  if (spawnSync('rsync', ['--version']).status === 0) {
    const args = ['-a', '-e', `ssh -F ${bench.config}`, file, `${host}:${bench.path('synced')}`];
    t.match(await bench.run('rsync', args), { status: 0, stderr: '' });
    t.ok(readFileSync(bench.path('synced')).equals(readFileSync(join(bench.folder, 'file'))), 'rsync');
  }
  await bench.idle();
});
