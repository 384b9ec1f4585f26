// What surrounds ssh where it starts keyhole, with the daemon and a passed descriptor: variables of Node, shells, homes and
// folders of every kind (issue 3). Each gives a connection or a clear error, and never a socket that others can use.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { kill, makeKey, openDaemonBench, works } from './daemon-bench.ts';
import { keyhole, type RunOptions, until } from './fixture.ts';

const isRoot = process.getuid?.() === 0;
const rootOnly = isRoot ? false : 'only root can set this up';
const has = (command: string) => spawnSync('sh', ['-c', `command -v ${command}`]).status === 0;

t.test('variables of Node', async (t) => {
  const bench = await openDaemonBench(t);
  const preload = bench.path('preload.cjs');
  writeFileSync(preload, 'console.log("from a preload"); console.error("from a preload");');
  const cases: Record<string, NonNullable<RunOptions['env']>> = {
    'a preload that prints, as VS Code sets one': { NODE_OPTIONS: `--require ${preload}` },
    'debugging output': { NODE_DEBUG: 'net,tls,http,fs,module,child_process', NODE_DEBUG_NATIVE: 'all' },
    'a stale NODE_CHANNEL_FD': { NODE_CHANNEL_FD: '3', NODE_CHANNEL_SERIALIZATION_MODE: 'json', NODE_UNIQUE_ID: '1' },
  };
  for (const [name, env] of Object.entries(cases)) {
    t.match(await bench.works({ env }), works, name);
    // The daemon too is started with these.
    await bench.stop();
  }
});

t.test('shells that run the ProxyCommand', async (t) => {
  const bench = await openDaemonBench(t);
  for (const shell of ['sh', 'bash', 'dash', 'zsh', 'fish']) {
    if (!has(shell)) {
      t.comment(`${shell} is not installed`);
      continue;
    }
    const SHELL = spawnSync('sh', ['-c', `command -v ${shell}`], { encoding: 'utf8' }).stdout.trim();
    t.match(await bench.works({ env: { SHELL } }), works, SHELL);
  }
  await bench.idle();
});

t.test('a runtime folder that is not the user’s alone is refused', async (t) => {
  const bench = await openDaemonBench(t);
  mkdirSync(join(bench.home, '.ssh'), { mode: 0o700 });
  const refused = async (name: string) => {
    const result = await bench.works();
    t.match(result, { status: 255, stderr: /^keyhole: \S+ .*so keyhole does not use it\nkeyhole: hint: / }, name);
    t.same(bench.daemons(), [], `${name}: no daemon runs`);
    t.match((await bench.failures()).at(-1), { code: 'unsafe-folder' }, `${name}: recorded`);
  };
  mkdirSync(bench.sshDir);
  for (const mode of [0o770, 0o702, 0o701]) {
    chmodSync(bench.sshDir, mode);
    await refused(`mode ${mode.toString(8)}`);
  }
  chmodSync(bench.sshDir, 0o700);
  if (isRoot) {
    chownSync(bench.sshDir, 12_345, 12_345);
    await refused('somebody else’s');
    chownSync(bench.sshDir, 0, 0);
  }
  t.same(readdirSync(bench.sshDir), [], 'nothing was put there');
  t.match(await bench.works(), works, 'and when it is mended, it works');
  t.equal(statSync(join(bench.sshDir, 'control.sock')).mode & 0o777, 0o600);
  t.equal(statSync(join(bench.sshDir, 'agent.sock')).mode & 0o777, 0o600);
  await bench.stop();

  const elsewhere = bench.path('elsewhere');
  mkdirSync(elsewhere, { mode: 0o700 });
  spawnSync('rm', ['-r', bench.sshDir]);
  symlinkSync(elsewhere, bench.sshDir);
  await refused('a symbolic link');
  t.same(readdirSync(elsewhere), []);
});

t.test('a folder of agent sockets that others can write to is refused too', async (t) => {
  const bench = await openDaemonBench(t);
  mkdirSync(join(bench.sshDir, 'agent'), { recursive: true, mode: 0o700 });
  chmodSync(join(bench.sshDir, 'agent'), 0o777);
  t.match(await bench.works(), { status: 255 });
  t.same(readdirSync(join(bench.sshDir, 'agent')), [], 'no key is offered there');
  const codes = (await bench.failures()).map(({ code }) => code);
  t.ok(
    codes.some((code) => code === 'unsafe-folder' || code === 'daemon-start'),
    `recorded: ${codes.join(', ')}`,
  );
});

t.test('a path that is too long for a socket', async (t) => {
  const own = makeKey(t);
  const bench = await openDaemonBench(t, { authorizedKeys: [own.publicLine] });
  const home = bench.path('h'.repeat(100));
  mkdirSync(home);
  const env = { HOME: home };
  const agent = ['-o', 'IdentityAgent=none'];
  t.match(await bench.works({ env }, [...agent, '-i', own.file]), works, 'without a common daemon; the user’s own key');
  await bench.gone();
  const why = await bench.keyhole(['why', '--json'], { env });
  t.match(JSON.parse(why.text), [{ code: 'socket-path' }], 'the reason is recorded');
  const short = { ...env, KEYHOLE_RUNTIME_DIR: bench.path('run') };
  bench.configure({ sshDir: bench.path('run') });
  t.match(await bench.works({ env: short }), works, 'KEYHOLE_RUNTIME_DIR leads to a shorter one');
  t.equal(bench.daemons().length, 1);
  for (const pid of bench.daemons()) kill(pid, 'SIGTERM');
  await bench.gone();
});

t.test('a full disk', { skip: rootOnly }, async (t) => {
  const own = makeKey(t);
  const bench = await openDaemonBench(t, { authorizedKeys: [own.publicLine] });
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=700', 'tmpfs', bench.home], {
    encoding: 'utf8',
  });
  if (mounted.status !== 0) return t.comment(`cannot mount a small file system here: ${mounted.stderr}`);
  t.teardown(() => spawnSync('umount', ['-l', bench.home]));
  const fill = spawnSync('sh', ['-c', `cat /dev/zero >'${join(bench.home, 'filler')}'`], { encoding: 'utf8' });
  t.match(fill.stderr, /No space left/);
  const result = await bench.works({}, ['-i', own.file]);
  t.match(result, { status: 0, text: 'works\n', stderr: '' }, 'the connection is there all the same');
  await bench.idle();
  for (const pid of bench.daemons()) kill(pid, 'SIGTERM');
  await bench.gone();

  spawnSync('rm', [join(bench.home, 'filler')]);
  t.match(await bench.works(), works, 'and with space again all is as ever');
  const filled = spawnSync('sh', ['-c', `cat /dev/zero >'${join(bench.home, 'filler')}'`], { encoding: 'utf8' });
  t.match(filled.stderr, /No space left/);
  t.match(await bench.works(), works, 'a disk that fills up while the daemon runs is no reason not to connect');
  await bench.idle();
  await bench.stop();
});

t.test('no HOME', async (t) => {
  const bench = await openDaemonBench(t);
  // Where nothing else is said, the home of the passwd entry counts; that is the tester's own here.
  const env = {
    HOME: undefined,
    KEYHOLE_RUNTIME_DIR: bench.path('run'),
    XDG_STATE_HOME: bench.path('state'),
    XDG_CACHE_HOME: bench.path('cache'),
    XDG_CONFIG_HOME: bench.path('config'),
  };
  bench.configure({ sshDir: bench.path('run') });
  t.match(await bench.works({ env }), works);
  t.equal(bench.daemons().length, 1);
  t.ok(existsSync(bench.path('state/keyhole/daemon.log')));
  for (const pid of bench.daemons()) kill(pid, 'SIGTERM');
  await bench.gone();
  t.same(readdirSync(bench.home), [], 'nothing was put into the home');
});

t.test(
  'as another user',
  { skip: rootOnly || (!has('setpriv') && 'setpriv (util-linux) is not installed') },
  async (t) => {
    const own = makeKey(t);
    const bench = await openDaemonBench(t, { authorizedKeys: [own.publicLine] });
    // The other one has to reach the program and ssh's configuration, and must not be kept out by the bench's own folder.
    for (const path of [bench.folder, bench.home]) chmodSync(path, 0o755);
    chmodSync(bench.env.TMPDIR!, 0o1777);
    const before = filesOf(bench.home);
    const [host] = bench.instances;
    const as = (uid: number, command: string[], options: RunOptions = {}) =>
      bench.start('setpriv', [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', ...command], options);
    const proxy = [keyhole, 'proxy', '--', host!, '22', bench.sshd.user];
    if ((await as(12_345, [keyhole, '--version']).exit).status !== 0) {
      return t.comment('this checkout cannot be read by other users');
    }

    t.test('with the HOME of somebody else, as sudo -E leaves it', async (t) => {
      const key = bench.path('key-of-nobody');
      spawnSync('cp', [own.file, key]);
      chownSync(key, 65_534, 65_534);
      const options = ['-F', bench.config, '-i', key, '-o', 'IdentityAgent=none', host!, 'echo works'];
      t.match(await as(65_534, ['ssh', ...options]).exit, works, 'a connection without the common daemon');
      await bench.gone();
      t.same(filesOf(bench.home), before, 'nothing was written');
    });

    t.test('with an id that has no passwd entry', async (t) => {
      for (const HOME of [undefined, bench.home]) {
        const helper = as(12_345, proxy, { input: 'open', env: { HOME } });
        await until('sshd speaks', () => helper.stdout().includes('\n'), 20_000, helper.stderr);
        helper.child.stdin.end();
        t.match(
          await helper.exit,
          { status: 0, text: /^SSH-2\.0-/, stderr: '' },
          HOME === undefined ? 'no HOME' : 'HOME',
        );
        await bench.gone();
      }
      t.same(filesOf(bench.home), before, 'nothing was written');
    });

    t.test('with a home that is read-only', async (t) => {
      const home = bench.path('read-only');
      mkdirSync(home);
      chownSync(home, 65_534, 65_534);
      chmodSync(home, 0o500);
      const key = bench.path('key-of-nobody');
      const options = ['-F', bench.config, '-i', key, '-o', 'IdentityAgent=none', host!, 'echo works'];
      t.match(await as(65_534, ['ssh', ...options], { env: { HOME: home } }).exit, works);
      await bench.gone();
      t.same(readdirSync(home), []);
    });
  },
);

function filesOf(folder: string): string[] {
  return (readdirSync(folder, { recursive: true }) as string[]).sort();
}
