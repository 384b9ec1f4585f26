// From nothing to `ssh i-…` in an account of its own: what a clone has, install.sh, keyhole setup, ssh by environment alone;
// then all of it taken back, and the account is as it was, byte for byte. ssh looks into the password database and not at
// HOME for `~`, so this needs a user of that database: root makes one, and removes it.
import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { type Region, startRegion } from '../region/region.ts';
import { startSshd } from '../region/sshd/sshd.ts';
import { instanceId, keyhole, nodeId, until } from './fixture.ts';

const top = resolve(import.meta.dirname, '../..');
const has = (command: string) => spawnSync('sh', ['-c', `command -v ${command}`]).status === 0;
const missing = ['useradd', 'userdel', 'runuser', 'git'].find((command) => !has(command));
const skip =
  process.getuid?.() !== 0 ? 'only root can make a user' : missing !== undefined && `${missing} is not installed`;

/** A user, with a home that others can look into, since this machine is the instance too. */
class Account {
  readonly name = `kh${process.pid}`;
  readonly folder: string;
  readonly home: string;
  readonly uid: number;

  constructor(t: Test) {
    this.folder = mkdtempSync(join(tmpdir(), 'kh-'));
    chmodSync(this.folder, 0o755);
    this.home = join(this.folder, 'home');
    sh('useradd', '-m', '-d', this.home, '-s', '/bin/sh', this.name);
    this.uid = lstatSync(this.home).uid;
    t.teardown(async () => {
      for (const pid of this.processes()) process.kill(pid, 'SIGKILL');
      await until('the processes of the user are gone', () => this.processes().length === 0);
      spawnSync('userdel', [this.name]);
      rmSync(this.folder, { recursive: true, force: true });
    });
  }

  /** Runs as the user, with this environment and no other. */
  async run(
    env: Record<string, string>,
    ...command: string[]
  ): Promise<{ status: number; stdout: string; stderr: string }> {
    const words = Object.entries({ PATH: '/usr/local/bin:/usr/bin:/bin', ...env }).map(
      ([name, value]) => `${name}=${value}`,
    );
    const args = ['-u', this.name, '--', 'env', '-i', ...words, ...command];
    return await new Promise((fulfil) => {
      const options = { encoding: 'latin1', cwd: '/', timeout: 60_000, killSignal: 'SIGKILL' } as const;
      const child = execFile('runuser', args, options, (error, stdout, stderr) =>
        fulfil({ status: error === null ? 0 : Number(error.code ?? -1), stdout, stderr }),
      );
      child.stdin?.end();
    });
  }

  give(path: string): void {
    sh('chown', '-R', `${this.uid}:${lstatSync(this.home).gid}`, path);
  }

  processes(): number[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => lstatSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid === this.uid)
      .filter((pid) => !/^State:\s+Z/m.test(read(`/proc/${pid}/status`)))
      .map(Number);
  }

  /** Kind, mode, owner and content of everything in the home. */
  list(): string[] {
    return (readdirSync(this.home, { recursive: true }) as string[]).sort().map((name) => {
      const path = join(this.home, name);
      const { mode, uid, gid, isFile, isLink } = kindOf(path);
      const content = isLink
        ? readlinkSync(path)
        : isFile
          ? createHash('sha256').update(readFileSync(path)).digest('hex')
          : '';
      return `${name} ${mode.toString(8)} ${uid}:${gid} ${content}`;
    });
  }
}

function kindOf(path: string) {
  const status = lstatSync(path);
  const { mode, uid, gid } = status;
  return { mode, uid, gid, isFile: status.isFile(), isLink: status.isSymbolicLink() };
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // a process that is gone since
  }
}

function sh(command: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** The files that a clone would have, built already, with the Node that npm would have installed for it. */
function checkOut(account: Account): string {
  const clone = join(account.folder, 'keyhole');
  for (const file of sh('git', '-C', top, 'ls-files', '-z', '--', ':!test')
    .split('\0')
    .filter((name) => existsSync(join(top, name)))) {
    if (file !== '') cpSync(join(top, file), join(clone, file));
  }
  cpSync(join(keyhole, '..'), join(clone, 'dist'), { recursive: true });
  const own = readdirSync(join(top, 'node_modules')).filter((name) => /^node-(bin-)?(linux|darwin)-/.test(name));
  for (const name of own) {
    const node = join('node_modules', name, 'bin/node');
    mkdirSync(join(clone, node, '..'), { recursive: true });
    linkOrCopy(join(top, node), join(clone, node));
  }
  return clone;
}

function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch {
    cpSync(from, to);
  }
}

async function openStand(
  t: Test,
): Promise<{ account: Account; region: Region; clone: string; env: Record<string, string>; user: string }> {
  const account = new Account(t);
  const sshd = await startSshd({ instances: [instanceId, nodeId] });
  t.teardown(() => sshd.stop());
  const region = await startRegion({ nodes: [{ ...sshd.node(instanceId), tags: { Name: 'web 1' } }] });
  t.teardown(() => region.stop());
  return {
    account,
    region,
    clone: checkOut(account),
    env: { HOME: account.home, SHELL: '/bin/sh', ...region.env },
    user: sshd.user,
  };
}

t.test('a bare account: clone, install.sh, keyhole setup, ssh; and back', { skip }, async (t) => {
  const { account, region, clone, env, user } = await openStand(t);
  const before = account.list();
  const installed = await account.run(env, join(clone, 'install.sh'));
  t.match(installed, { status: 0, stderr: '' });
  const program = join(account.home, '.local/bin/keyhole');
  const afterInstall = account.list();

  t.match(await account.run(env, program, 'setup', '--dry-run'), { status: 0, stderr: '' });
  t.strictSame(account.list(), afterInstall, 'a dry run changes nothing');
  t.match(await account.run(env, program, 'setup', '--user', user), { status: 0, stderr: '' });
  t.equal(readFileSync(join(account.home, '.ssh/config'), 'utf8'), 'Include ~/.ssh/keyhole/config\n');
  t.equal(lstatSync(join(account.home, '.ssh')).mode & 0o777, 0o700);
  t.equal(lstatSync(join(account.home, '.ssh/config')).mode & 0o777, 0o600);
  const afterSetup = account.list();
  t.match(await account.run(env, program, 'setup'), { status: 0, stdout: /all is in place already/ });
  t.strictSame(account.list(), afterSetup, 'a second time changes nothing, and the options are remembered');

  const { HOME: _, ...withoutHome } = env;
  const works = { status: 0, stdout: 'works\n' };
  t.match(await account.run(env, 'ssh', instanceId, 'echo works'), {
    ...works,
    stderr: /^Warning: Permanently added [^\n]*\n$/,
  });
  t.match(
    await account.run(withoutHome, 'ssh', instanceId, 'echo works'),
    { ...works, stderr: '' },
    'without HOME, as from cron',
  );
  t.equal(region.pushes.at(-1)?.user, user);
  writeFileSync(join(account.folder, 'file'), 'content');
  const target = join(account.folder, 'copy');
  const scp = await account.run(
    env,
    'scp',
    '-o',
    'ConnectTimeout=15',
    join(account.folder, 'file'),
    `${instanceId}:${target}`,
  );
  t.match(scp, { status: 0, stderr: '' });
  t.equal(readFileSync(target, 'utf8'), 'content');

  t.match(await account.run(env, program, 'hosts', '--sync'), {
    status: 0,
    stdout: /web 1 +i-0123456789abcdef0 +running/,
  });
  t.match(await account.run(env, 'ssh', `${user}@web-1.ec2`, 'echo works'), { ...works, stderr: '' }, 'by its name');

  const removed = await account.run(env, program, 'setup', '--remove');
  t.match(removed, { status: 0, stderr: '' });
  t.strictSame(account.processes(), [], 'no daemon is left');
  t.strictSame(account.list(), afterInstall, 'ssh is as it was');
  t.match(await account.run(env, program, 'setup'), { status: 0 });
  const uninstalled = await account.run(env, join(account.home, '.local/lib/keyhole/install.sh'), '--uninstall');
  t.match(uninstalled, { status: 0, stderr: '' });
  t.strictSame(account.list(), before, 'and so is the account');
});

t.test('configurations that are there already', { skip }, async (t) => {
  const account = new Account(t);
  const program = join(account.folder, 'keyhole');
  cpSync(join(keyhole, '..'), program, { recursive: true });
  linkOrCopy(process.execPath, join(program, 'node'));
  const env = { HOME: account.home };
  const setup = (...args: string[]) => account.run(env, join(program, 'keyhole'), 'setup', ...args);
  const [folder, config] = [join(account.home, '.ssh'), join(account.home, '.ssh/config')];
  const start = (content: Buffer | string, mode = 0o600) => {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { mode: 0o700 });
    writeFileSync(config, content, { mode });
    account.give(folder);
    return account.list();
  };
  const undone = async (before: string[], what: string) => {
    t.match(await setup('--remove'), { status: 0, stderr: '' }, what);
    t.strictSame(account.list(), before, `${what}: as before`);
  };

  const crlf = start(
    'Host *\r\n  User bob\r\n# Gr\xfc\xdfe\r\n'.replace(/./gs, (char) => char),
    0o644,
  );
  t.match(await setup(), { status: 0, stdout: /note: your own User bob gives way to ec2-user/, stderr: '' });
  t.match(readFileSync(config, 'latin1'), /^Include ~\/\.ssh\/keyhole\/config\r\nHost \*\r\n/);
  t.match(
    (await account.run(env, 'ssh', '-G', instanceId)).stdout,
    `proxycommand ${program}/keyhole proxy -- %h %p %r\n`,
  );
  await undone(crlf, 'line ends of Windows');

  const bytes = start(Buffer.from('# \xe9\xff\x00\x80 latin1\nHost a\n  User b', 'latin1'));
  t.match(await setup(), { status: 0, stderr: '' });
  await undone(bytes, 'bytes that are no UTF-8, and no line end at the end');

  start('');
  rmSync(config);
  writeFileSync(join(account.home, 'dotfile'), 'Host *\n  User bob\n', { mode: 0o640 });
  account.give(join(account.home, 'dotfile'));
  symlinkSync('../dotfile', config);
  const link = account.list();
  t.match(await setup(), { status: 0, stderr: '' });
  t.equal(readlinkSync(config), '../dotfile');
  t.match(readFileSync(join(account.home, 'dotfile'), 'utf8'), /^Include/);
  await undone(link, 'a link');
  rmSync(join(account.home, 'dotfile'));

  const readOnly = start('Host *\n  User bob\n', 0o400);
  t.match(await setup(), {
    status: 1,
    stderr: /config is read-only\nkeyhole: hint: chmod u\+w .*Include ~\/\.ssh\/keyhole\/config/,
  });
  await undone(readOnly, 'a read-only file');

  const broken = start('NoSuchOption yes\n');
  t.match(await setup(), { status: 1, stderr: /ssh cannot read its configuration: .*[Bb]ad configuration option/ });
  t.strictSame(account.list(), broken, 'nothing was changed');

  const agent = start('Host *\n  IdentityAgent ~/.1password/agent.sock\n');
  t.match(await setup(), { status: 0, stdout: /the keys of your ssh-agent at .*\.1password\/agent\.sock/ });
  t.match(
    (await account.run(env, 'ssh', '-G', instanceId)).stdout,
    `--agent-upstream=${account.home}/.1password/agent.sock --`,
  );
  t.match(
    (await account.run(env, 'ssh', '-G', 'mi-nas')).stdout,
    /^identityagent .*1password/m,
    'other hosts keep theirs',
  );
  await undone(agent, 'an IdentityAgent');

  const elsewhere = start('');
  const otherHome = join(account.folder, 'other');
  mkdirSync(otherHome);
  chownSync(otherHome, account.uid, account.uid);
  t.match(await account.run({ HOME: otherHome }, join(program, 'keyhole'), 'setup'), {
    status: 0,
    stdout: /sockets of keyhole are in/,
  });
  t.match((await account.run({}, 'ssh', '-G', instanceId)).stdout, `--runtime-dir=${account.home}/.ssh/keyhole --`);
  await undone(elsewhere, 'a HOME that is not ssh’s');

  const own = start('Host i-*\n  ProxyCommand theirs\n\nInclude keyhole/config\n');
  t.match(await setup(), { status: 0, stdout: /note: other lines of your configuration win: .* runs theirs/ });
  t.match(readFileSync(config, 'utf8'), /^Host i-\*/, 'an Include that the user has moved stays where it is');
  await setup('--remove');
  t.equal(readFileSync(config, 'utf8'), 'Host i-*\n  ProxyCommand theirs\n\n');
  t.ok(own);
});

t.test('systemd’s user manager listens where it is there', { skip }, async (t) => {
  const account = new Account(t);
  const program = join(account.folder, 'keyhole');
  cpSync(join(keyhole, '..'), program, { recursive: true });
  linkOrCopy(process.execPath, join(program, 'node'));
  const log = join(account.folder, 'calls');
  writeFileSync(join(account.folder, 'systemctl'), `#!/bin/sh\necho "$*" >>${log}\n`, { mode: 0o755 });
  writeFileSync(log, '', { mode: 0o666 });
  chmodSync(log, 0o666);
  const env = { HOME: account.home, PATH: `${account.folder}:/usr/bin:/bin` };
  const setup = (...args: string[]) => account.run(env, join(program, 'keyhole'), 'setup', ...args);
  const calls = () => {
    const lines = readFileSync(log, 'utf8').trim().split('\n');
    writeFileSync(log, '');
    return lines;
  };
  const before = account.list();
  t.match(await setup('--service'), { status: 0, stderr: '' });
  const units = join(account.home, '.config/systemd/user');
  t.match(
    readFileSync(join(units, 'keyhole.socket'), 'utf8'),
    `ListenStream=${account.home}/.ssh/keyhole/control.sock\n`,
  );
  t.match(readFileSync(join(units, 'keyhole.service'), 'utf8'), `ExecStart=${program}/keyhole daemon run\n`);
  t.strictSame(calls(), [
    '--user daemon-reload',
    '--user enable --quiet keyhole.socket',
    '--user stop keyhole.service',
    '--user restart keyhole.socket',
  ]);
  t.match(await setup(), { status: 0, stdout: /all is in place already/ });
  t.strictSame(calls(), [
    '--user daemon-reload',
    '--user enable --quiet keyhole.socket',
    '--user start keyhole.socket',
  ]);
  t.match(await setup('--no-service'), { status: 0, stderr: '' });
  t.notOk(existsSync(join(units, 'keyhole.socket')));
  t.match(calls().join(), 'disable --quiet --now keyhole.socket');
  await setup('--service');
  t.match(await setup('--remove'), { status: 0, stderr: '' });
  t.match(calls().join(), 'disable --quiet --now keyhole.socket');
  t.strictSame(account.list(), before);
});
