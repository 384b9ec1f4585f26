// What is there while an ssh session is open, and while it opens: processes, sockets, files, secrets (issue 3).
import { spawnSync } from 'node:child_process';
import { type Dirent, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { commandLine, type DaemonBench, environment, openDaemonBench, useProfiles, works } from './daemon-bench.ts';
import { until } from './fixture.ts';

/** How a private key looks in a file: PEM of any kind, OpenSSH's own form in PEM and raw, PKCS #8 of Ed25519 (RFC 8410). */
const privateKeyMarks = [
  Buffer.from('PRIVATE KEY'),
  Buffer.from('b3BlbnNzaC1rZXktdjE'),
  Buffer.from('openssh-key-v1'),
  Buffer.from('302e020100300506032b657004220420', 'hex'),
];

function filesBelow(folder: string): string[] {
  const entries: Dirent[] = readdirSync(folder, { withFileTypes: true, recursive: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

async function startSsh(bench: DaemonBench) {
  const ssh = bench.start('ssh', ['-F', bench.config, bench.instances[0]!, 'echo started; exec cat'], {
    input: 'open',
  });
  await until('ssh talks', () => ssh.stdout().includes('started'), 20_000, ssh.stderr);
  return ssh;
}

t.test('while ssh is open', async (t) => {
  const bench = await openDaemonBench(t);
  const ssh = await startSsh(bench);
  const [daemon, ...more] = bench.daemons();

  t.test('the daemon is the only process of keyhole', async (t) => {
    await until('the helper is gone', () => bench.proxies().length === 1);
    t.same(bench.proxies(), [daemon]);
    t.same(more, []);
    t.equal(
      spawnSync('ps', ['--ppid', String(ssh.pid), '-o', 'pid='], { encoding: 'utf8' }).stdout,
      '',
      'ssh has no child',
    );
  });

  t.test('ssh’s connection is the daemon’s socket', { skip: noSs() }, async (t) => {
    const sockets = unixSockets();
    const ofSsh = sockets.filter(({ pid }) => pid === ssh.pid);
    const peers = ofSsh.map(({ peer }) => sockets.find(({ inode }) => inode === peer));
    // The name is the one under which the socket was bound, before it was renamed.
    const toDaemon = peers.filter((peer) => peer?.pid === daemon && peer?.path.startsWith(`${bench.sshDir}/`));
    t.equal(toDaemon.length, 1, 'one socket of ssh leads to a listening one of the daemon');
  });

  t.test('no file holds a private key', async (t) => {
    const files = filesBelow(bench.folder);
    t.ok(files.length > 3, 'there are files');
    const guilty = files.filter((file) => {
      const bytes = readFileSync(file);
      return privateKeyMarks.some((mark) => bytes.includes(mark));
    });
    t.same(guilty, []);
  });

  t.test('the environment of the daemon has nothing of AWS, and its arguments no secret', async (t) => {
    const names = environment(daemon!).map((entry) => entry.split('=')[0]!);
    t.ok(names.includes('HOME'));
    t.same(
      names.filter((name) => /AWS|TOKEN|SECRET|SSH_|NODE_(?!EXTRA_CA_CERTS)/.test(name)),
      [],
    );
    t.match(commandLine(daemon!).slice(-2), ['daemon', 'run']);
  });

  t.test('status tells of the tunnel', async (t) => {
    const status = await bench.status();
    t.match(status, { pid: daemon!, draining: false, leftSessions: [] });
    t.match(status?.tunnels, [
      {
        host: bench.instances[0]!,
        port: '22',
        user: bench.sshd.user,
        state: 'open',
        transport: 'ssm',
        clientPid: ssh.pid,
      },
    ]);
    t.equal(status?.tunnels[0]?.sessionId, bench.activeSessions()[0]);
    t.ok(status!.tunnels[0]!.bytesSent > 1_000 && status!.tunnels[0]!.bytesReceived > 1_000, 'bytes are counted');
    t.match(status?.pushes, [{ user: bench.sshd.user, state: 'pushed' }]);
  });

  t.test('and afterwards nothing is left but the daemon', async (t) => {
    ssh.child.stdin.end();
    t.match(await ssh.exit, { status: 0, stderr: '' });
    await bench.idle();
    t.same((await bench.status())?.tunnels, []);
  });
});

t.test('no process at all shows a secret while ssh opens and runs', async (t) => {
  const bench = await openDaemonBench(t);
  // Credentials come from a program, slowly, so that every process that takes part is seen.
  const { secrets } = useProfiles(bench, { default: {} }, { slowly: true });
  const seen = new Set<string>();
  const leaks = new Set<string>();
  let watching = true;
  const watch = async () => {
    while (watching) {
      look(bench, secrets, seen, leaks);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const watched = watch();
  t.match(await bench.works(), works);
  watching = false;
  await watched;
  t.same([...leaks], []);
  for (const role of ['daemon', 'proxy', 'resolve-aws']) t.ok(seen.has(role), `${role} was seen`);
});

/** Notes which processes of keyhole run and what of their arguments or environment, or anybody's, should not be there. */
function look(bench: DaemonBench, secrets: string[], seen: Set<string>, leaks: Set<string>): void {
  const own = new Set(bench.proxies());
  for (const pid of readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)) {
    // This process has the region in it, and may have been told anything.
    if (pid === process.pid) continue;
    const args = commandLine(pid);
    const shown = [...args, ...environment(pid)].join('\n');
    // Tokens of sessions and stream URLs begin like this; another test's are none of ours.
    const hasToken = own.has(pid) && /AAEAA[A-Za-z0-9+/%]{20}/.test(shown);
    if (hasToken || secrets.some((secret) => shown.includes(secret))) {
      leaks.add(`${args.join(' ')}: ${shown}`);
    }
    if (!own.has(pid)) continue;
    const role = ['daemon', 'proxy', 'resolve-aws'].find((verb) => args.includes(verb));
    if (role !== undefined) seen.add(role);
    if (role === 'daemon' && environment(pid).some((entry) => entry.startsWith('AWS_')))
      leaks.add('AWS_* of the daemon');
  }
}

interface UnixSocket {
  path: string;
  inode: number;
  peer: number;
  pid: number;
}

function noSs(): string | false {
  return spawnSync('ss', ['-V']).status === 0 ? false : 'ss (iproute2) is not installed';
}

function unixSockets(): UnixSocket[] {
  const { stdout } = spawnSync('ss', ['-xpnH'], { encoding: 'utf8' });
  return stdout.split('\n').flatMap((line) => {
    const [, , , , path, inode, , peer, users] = line.split(/\s+/);
    const pid = /pid=(\d+)/.exec(users ?? '')?.[1];
    return pid === undefined ? [] : [{ path: path!, inode: Number(inode), peer: Number(peer), pid: Number(pid) }];
  });
}

t.test(
  'where a daemon listens, a connection needs no Node, and what is unusual is asked once',
  { skip: noPerl() },
  async (t) => {
    const bench = await openDaemonBench(t);
    const [node, starts] = [join(bench.folder, 'node'), join(bench.folder, 'starts')];
    writeFileSync(node, `#!/bin/sh\necho "$3" >>"${starts}"\nexec "${process.execPath}" "$@"\n`, { mode: 0o755 });
    writeFileSync(starts, '');
    const env = { KEYHOLE_NODE: node };
    const started = () => readFileSync(starts, 'utf8').match(/^proxy$/gm)?.length ?? 0;
    t.match(await bench.works({ env }), works);
    t.equal(started(), 1, 'which starts the daemon');
    for (let n = 0; n < 5; n++) t.match(await bench.works({ env }), works);
    t.equal(started(), 1);
    t.equal(bench.region.sessions.length, 6);
    t.equal(bench.daemons().length, 1);

    const refused = await bench.works({ env }, ['-p', '23']);
    t.match(refused, { status: 255, stderr: /^keyhole: .*23/ });
    t.equal(started(), 2, 'to say what is wrong');
    t.equal(bench.region.sessions.length, 7, 'once');
    const nobody = { ...env, AWS_ACCESS_KEY_ID: 'AKIANOBODY0000000000' };
    t.match(await bench.works({ env: nobody }), { status: 255, stderr: /^keyhole: / });
    t.equal(started(), 3, 'to look up the settings of another caller');
    t.match(await bench.works({ env }, [], 'i-0'), { status: 255, stderr: /^keyhole: "i-0" is not a host/ });
    t.equal(bench.region.sessions.length, 7);
    await bench.idle();

    const pushed = bench.region.pushes.length;
    const many = await Promise.all(Array.from({ length: 8 }, () => bench.works({ env })));
    for (const each of many) t.match(each, works);
    t.equal(bench.region.sessions.length, 15, 'who has to wait does not ask again');
    t.ok(bench.region.pushes.length <= pushed + 1, 'with one push');
    await bench.idle();
  },
);

t.test('ssh is killed long before AWS answers StartSession: the session is ended when it is known', async (t) => {
  const bench = await openDaemonBench(t, { env: { KEYHOLE_LOG_LEVEL: 'info' } });
  t.match(await bench.works(), works);
  const release = bench.region.apiFaults.hold('StartSession');
  const ssh = bench.start('ssh', ['-F', bench.config, bench.instances[0]!, 'true']);
  await until('AWS has started it', () => bench.activeSessions().length === 1, 10_000);
  ssh.child.kill('SIGKILL');
  await ssh.exit;
  await until('nobody waits', () => bench.log().includes('tunnel failed'), 10_000);
  t.same((await bench.status())!.tunnels, []);
  t.equal(bench.activeSessions().length, 1);
  release();
  await bench.idle();
  t.match(await bench.works(), works);
});

function noPerl(): string | false {
  return process.platform === 'linux' && existsSync('/usr/bin/perl') ? false : 'no /usr/bin/perl';
}
