// Both kinds of sshd, asked by OpenSSH's own ssh, scp and sftp: what the region promises must hold with either.
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { opensshPath } from './openssh.ts';
import { type Sshd, startSshd } from './sshd.ts';

/** Runs a program; never throws for its exit status. */
async function run(file: string, args: string[], input: string | Buffer = '') {
  const child = spawn(file, args, { stdio: 'pipe' });
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const chunks: Buffer[] = [];
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk;
  });
  const [status] = await once(child, 'close');
  const stdout = Buffer.concat(chunks);
  return { status: status as number, stdout, text: stdout.toString(), stderr };
}

interface Bench {
  sshd: Sshd;
  folder: string;
  options: string[];
  ssh(args: string[], input?: string | Buffer): ReturnType<typeof run>;
}

async function open(test: Test, kind: Sshd['kind']): Promise<Bench> {
  const folder = test.testdir();
  const key = join(folder, 'id');
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', key]);
  const sshd = await startSshd({ kind, authorizedKeys: [readFileSync(`${key}.pub`, 'utf8').trim()] });
  test.teardown(() => sshd.stop());
  const knownHosts = join(folder, 'known_hosts');
  writeFileSync(knownHosts, sshd.hostKeys.map((hostKey) => `sshd-under-test ${hostKey}\n`).join(''));
  const settings = [
    'BatchMode=yes',
    'StrictHostKeyChecking=yes',
    'HostKeyAlias=sshd-under-test',
    `UserKnownHostsFile=${knownHosts}`,
    'GlobalKnownHostsFile=/dev/null',
    'IdentityAgent=none',
    'IdentitiesOnly=yes',
    `IdentityFile=${key}`,
    `Port=${sshd.port}`,
    `User=${sshd.user}`,
  ];
  const options = ['-F', '/dev/null', ...settings.flatMap((setting) => ['-o', setting])];
  return { sshd, folder, options, ssh: (args, input) => run('ssh', [...options, ...args], input) };
}

for (const kind of ['openssh', 'ssh2'] as const) {
  t.test(kind, { skip: kind === 'openssh' && !existsSync(opensshPath) && 'no sshd installed' }, async (t) => {
    const bench = await open(t, kind);
    const { folder, options, ssh } = bench;

    t.test('runs a command with its three streams and its exit status', async (t) => {
      const result = await ssh(['127.0.0.1', 'cat; echo problem >&2; exit 7'], 'from stdin');
      t.match(result, { status: 7, text: 'from stdin', stderr: /^problem\r?\n$/ });
    });

    t.test('reports a command that a signal ended', async (t) => {
      t.not((await ssh(['127.0.0.1', 'kill -TERM $$'])).status, 0);
    });

    t.test('carries megabytes both ways, whole, through a command', async (t) => {
      const bytes = randomBytes(3_000_000);
      const { status, stdout } = await ssh(['127.0.0.1', 'cat'], bytes);
      t.equal(status, 0);
      t.ok(stdout.equals(bytes));
    });

    t.test('runs a shell, with or without a terminal', async (t) => {
      t.match(await ssh(['-T', '127.0.0.1'], 'echo sum $((40 + 2))\nexit 3\n'), { status: 3, text: /sum 42/ });
      t.match(await ssh(['-tt', '127.0.0.1'], 'echo sum $((40 + 2))\rexit 3\r'), { status: 3, text: /sum 42\r\n/ });
    });

    t.test('refuses a key that is not authorized', async (t) => {
      const key = join(folder, 'other');
      execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', key]);
      const identity = options.findIndex((option) => option.startsWith('IdentityFile='));
      const others = options.with(identity, `IdentityFile=${key}`);
      const refused = await run('ssh', [...others, '127.0.0.1', 'true']);
      t.match(refused, { status: 255, stderr: /Permission denied/ });
    });

    t.test('scp copies both ways, in the sftp and in the old protocol, keeping mode and time', async (t) => {
      const source = join(folder, 'source');
      writeFileSync(source, randomBytes(2_000_000));
      chmodSync(source, 0o640);
      for (const protocol of ['-s', '-O']) {
        const there = join(folder, `there${protocol}`);
        const back = join(folder, `back${protocol}`);
        t.match(await run('scp', ['-p', protocol, ...options, source, `127.0.0.1:${there}`]), { status: 0 });
        t.match(await run('scp', ['-p', protocol, ...options, `127.0.0.1:${there}`, back]), { status: 0 });
        t.ok(readFileSync(back).equals(readFileSync(source)));
        t.equal(statSync(there).mode & 0o777, 0o640);
        t.equal(Math.floor(statSync(there).mtimeMs / 1000), Math.floor(statSync(source).mtimeMs / 1000));
      }
    });

    t.test('sftp puts, lists, renames, reads, links and removes', async (t) => {
      const there = join(folder, 'tree');
      const local = join(folder, 'local');
      writeFileSync(local, 'content');
      for (let i = 0; i < 150; i++) mkdirSync(join(folder, 'many', String(i)), { recursive: true });
      const script = [
        `mkdir ${there}`,
        `put ${local} ${there}/one`,
        `rename ${there}/one ${there}/two`,
        `symlink ${there}/two ${there}/three`,
        `ls -l ${there}`,
        `get ${there}/three ${folder}/fetched`,
        `ls -1 ${join(folder, 'many')}`,
        `rm ${there}/three`,
        `rm ${there}/two`,
        `rmdir ${there}`,
        `-get ${there}/two`,
        'pwd',
      ];
      const result = await run('sftp', ['-b', '-', ...options, '127.0.0.1'], `${script.join('\n')}\n`);
      t.equal(result.status, 0, result.stderr);
      t.match(result.text, /-rw.* 7 .*two/);
      t.equal(result.text.split('\n').filter((line) => line.startsWith(join(folder, 'many/'))).length, 150);
      t.match(result.stderr, /not found|No such file/);
      t.equal(readFileSync(join(folder, 'fetched'), 'utf8'), 'content');
      t.notOk(existsSync(there));
    });

    t.test('rsync copies a tree', { skip: !existsSync('/usr/bin/rsync') && 'no rsync installed' }, async (t) => {
      mkdirSync(join(folder, 'from'));
      for (let i = 0; i < 20; i++) writeFileSync(join(folder, 'from', String(i)), randomBytes(10_000));
      const shell = ['ssh', ...options].join(' ');
      const result = await run('rsync', ['-a', '-e', shell, `${folder}/from/`, `127.0.0.1:${folder}/to/`]);
      t.equal(result.status, 0, result.stderr);
      for (let i = 0; i < 20; i++) {
        t.ok(readFileSync(join(folder, 'to', String(i))).equals(readFileSync(join(folder, 'from', String(i)))));
      }
    });

    t.test('a client that vanishes takes its command with it', async (t) => {
      const mark = join(folder, 'gone');
      const command = `trap 'echo > ${mark}; exit' HUP TERM; echo ready; while :; do sleep 0.02; done`;
      const child = spawn('ssh', [...options, '-tt', '127.0.0.1', command], { stdio: ['pipe', 'pipe', 'ignore'] });
      await once(child.stdout, 'data');
      child.kill('SIGKILL');
      while (!existsSync(mark)) await new Promise((resolve) => setTimeout(resolve, 10));
      t.pass('the command was hung up');
    });

    t.test('stop ends the open connections and the port', async (t) => {
      const { sshd, options } = await open(t, kind);
      const child = spawn('ssh', [...options, '127.0.0.1', 'echo ready; sleep 100'], {
        stdio: ['pipe', 'pipe', 'ignore'],
      });
      await once(child.stdout, 'data');
      await Promise.all([sshd.stop(), once(child, 'exit')]);
      const [error] = await once(connect(sshd.port, '127.0.0.1'), 'error');
      t.equal(error.code, 'ECONNREFUSED');
    });
  });
}
