// The exact commands of programs that run ssh, through the block that `keyhole setup` writes: what VS Code, Ansible, Docker and
// sshfs start, several at a time. Silence on stderr, no waiting for each other, and nothing left when they go.
import { readFileSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { type DaemonBench, openDaemonBench } from './daemon-bench.ts';
import { type Running, until } from './fixture.ts';
import { freePort, roundTrip, socksHello } from './forwarding.ts';
import { makeFile, sha256 } from './transfer.ts';

/** ssh's configuration is setup's, but for the host keys, which nobody vouches for here. */
async function openInstalledBench(t: Test, instances = 1): Promise<DaemonBench> {
  const bench = await openDaemonBench(t, { instances });
  const { status, text } = await bench.keyhole(['setup', '--print'], { env: { KEYHOLE_RUNTIME_DIR: bench.sshDir } });
  t.equal(status, 0);
  const own = `Host *\n  User ${bench.sshd.user}\n  UserKnownHostsFile ${bench.path('known_hosts')}\n  GlobalKnownHostsFile /dev/null\n  IdentityFile none\n`;
  writeFileSync(bench.config, `${own}${text}`);
  return bench;
}

/** What a program of the "instance" does: this machine's Node. */
function writeServer(bench: DaemonBench): string {
  const file = bench.path('server.cjs');
  writeFileSync(
    file,
    `const server = require('node:http').createServer((request, response) => response.end('hello ' + request.url));
server.listen(0, '127.0.0.1', () => console.log('pid==' + process.pid + '== listeningOn==' + server.address().port + '=='));
`,
  );
  return `'${process.execPath}' '${file}'`;
}

interface Window {
  ssh: Running;
  socksPort: number;
  serverPort: number;
}

/** As Remote-SSH does: a dynamic forward, and a script on stdin that starts the server. */
async function openWindow(t: Test, bench: DaemonBench, server: string): Promise<Window> {
  const socksPort = await freePort();
  const ssh = bench.start(
    'ssh',
    ['-v', '-T', '-D', String(socksPort), '-o', 'ConnectTimeout=15', '-F', bench.config, bench.instances[0]!, 'sh'],
    { input: 'open' },
  );
  ssh.child.stdin.write(`echo started\n${server} &\nwait\n`);
  const port = () => Number(/listeningOn==(\d+)==/.exec(ssh.stdout().toString())?.[1]);
  await until('the server listens', () => port() > 0, 20_000, ssh.stderr);
  // VS Code's would go by itself, some time after its window.
  t.teardown(() => process.kill(Number(/pid==(\d+)==/.exec(ssh.stdout().toString())?.[1])));
  return { ssh, socksPort, serverPort: port() };
}

async function request({ socksPort, serverPort }: Window, path: string): Promise<string> {
  const question = `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;
  // As many bytes of the answer as there are in the question will do.
  return (await roundTrip(socksPort, Buffer.from(question), socksHello(serverPort))).toString();
}

t.test('VS Code: ssh -V, two windows with their servers and proxies, and an upload meanwhile', async (t) => {
  const bench = await openInstalledBench(t);
  t.match(await bench.run('ssh', ['-V']), { status: 0, text: '' });
  const server = writeServer(bench);
  const windows = await Promise.all([openWindow(t, bench, server), openWindow(t, bench, server)]);
  const file = makeFile(bench, 'vscode-server.tar.gz', 1_000_000);
  const upload = bench.run('scp', [
    ...['-o', 'ConnectTimeout=15', '-F', bench.config],
    file,
    `${bench.instances[0]}:${bench.path('uploaded')}`,
  ]);
  const answers = await Promise.all(windows.map((window, at) => request(window, `/window-${at}`)));
  for (const answer of answers) t.match(answer, /^HTTP\/1.1 200 OK/);
  t.match(await upload, { status: 0, stderr: '' });
  t.equal(await sha256(bench.path('uploaded')), await sha256(file));
  for (const { ssh } of windows) {
    t.notMatch(ssh.stderr(), /keyhole: /, 'nothing of ours on stderr');
    ssh.child.kill('SIGTERM');
    await ssh.exit;
  }
  await bench.idle();
});

t.test('Ansible: a master stays, its tasks share one session, and a failure is found afterwards', async (t) => {
  const bench = await openInstalledBench(t);
  const [host] = bench.instances;
  const controlPath = bench.path('cp');
  const ansible = (target: string, command: string) =>
    bench.run('ssh', [
      ...['-C', '-o', 'ControlMaster=auto', '-o', 'ControlPersist=60s', '-o', 'KbdInteractiveAuthentication=no'],
      ...['-o', 'PreferredAuthentications=gssapi-with-mic,gssapi-keyex,hostbased,publickey'],
      ...['-o', 'PasswordAuthentication=no', '-o', `User="${bench.sshd.user}"`, '-o', 'ConnectTimeout=10'],
      ...['-o', `ControlPath="${controlPath}"`, '-F', bench.config, target, `/bin/sh -c '${command}'`],
    ]);
  t.match(await ansible(host!, 'echo one'), { status: 0, text: 'one\n', stderr: '' });
  t.match(await ansible(host!, 'echo two; exit 3'), { status: 3, text: 'two\n', stderr: '' });
  t.equal(bench.region.sessions.length, 1, 'one session for both');
  await bench.run('ssh', ['-F', bench.config, '-o', `ControlPath=${controlPath}`, '-O', 'exit', host!]);
  await bench.idle();
  t.match(await ansible('i-00000000000000000', 'true'), { status: 255, stderr: /^(?!.*keyhole: )/s }, 'ssh hides it');
  t.match((await bench.failures()).at(-1), { host: 'i-00000000000000000', code: 'target-not-connected' });
});

t.test('Docker: many short connections side by side, with an option in one word', async (t) => {
  const bench = await openInstalledBench(t, 4);
  const bytes = Buffer.alloc(100_000, 'docker ');
  const results = await Promise.all(
    [...bench.instances, ...bench.instances].map((host) =>
      bench.run('ssh', ['-F', bench.config, '-o ConnectTimeout=30', '-T', '-l', bench.sshd.user, '--', host, 'cat'], {
        input: bytes,
      }),
    ),
  );
  for (const { status, stdout } of results)
    t.strictSame({ status, equal: stdout.equals(bytes) }, { status: 0, equal: true });
  await bench.idle();
});

t.test('sshfs: the sftp subsystem over pipes', async (t) => {
  const bench = await openInstalledBench(t);
  const ssh = bench.start(
    'ssh',
    [
      ...['-F', bench.config, '-x', '-a', '-oClearAllForwardings=yes', '-oNumberOfPasswordPrompts=1'],
      ...[`${bench.sshd.user}@${bench.instances[0]}`, '-s', '--', 'sftp'],
    ],
    { input: 'open' },
  );
  // draft-ietf-secsh-filexfer-02: length, SSH_FXP_INIT, version 3; SSH_FXP_VERSION comes back.
  ssh.child.stdin.write(Buffer.from([0, 0, 0, 5, 1, 0, 0, 0, 3]));
  await until('the server has answered', () => ssh.stdout().length >= 9, 20_000, ssh.stderr);
  t.strictSame([...ssh.stdout().subarray(4, 9)], [2, 0, 0, 0, 3]);
  ssh.child.stdin.end();
  t.match(await ssh.exit, { stderr: '' });
  await bench.idle();
});

t.test('scp -3 between two instances: two tunnels in one command', async (t) => {
  const bench = await openInstalledBench(t, 2);
  const file = makeFile(bench, 'between', 300_000);
  const [one, two] = bench.instances;
  const to = bench.path('arrived');
  const result = await bench.run('scp', ['-F', bench.config, '-3', `${one}:${file}`, `${two}:${to}`]);
  t.match(result, { status: 0, stderr: '' });
  t.ok(readFileSync(to).equals(readFileSync(file)));
  t.equal(bench.region.sessions.length, 2);
  await bench.idle();
});
