// src/launcher.sh under every shell that is here: what it finds, what it clears, what it becomes.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';

const launcher = resolve(import.meta.dirname, '../../src/launcher.sh');
const shells: [string, string[]][] = [
  ['/bin/sh', []],
  ['dash', []],
  ['bash', []],
  ['bash', ['--posix']],
  ['busybox', ['sh']],
  ['zsh', ['--emulate', 'sh']],
  ['mksh', []],
];

/** The program that is launched in these tests: shows how it was started. */
const probe = `
process.stdout.write(JSON.stringify({
  args: process.argv.slice(2), main: process.argv[1], pid: process.pid, ppid: process.ppid,
  node: Object.keys(process.env).filter((name) => name.startsWith('NODE_')).sort(), home: process.env.HOME,
}));`;

function install(t: Test): string {
  const folder = t.testdir({ lib: { 'main.js': probe } });
  copyFileSync(launcher, join(folder, 'keyhole'));
  chmodSync(join(folder, 'keyhole'), 0o755);
  return folder;
}

function run(command: string, args: string[], env: NodeJS.ProcessEnv = {}, cwd = '/') {
  const child = spawnSync(command, args, {
    env: { PATH: process.env.PATH, KEYHOLE_NODE: process.execPath, ...env },
    cwd,
  });
  const [stdout, stderr] = [child.stdout.toString(), child.stderr.toString()];
  return {
    pid: child.pid,
    status: child.status,
    stdout,
    stderr,
    seen: stdout.startsWith('{') ? JSON.parse(stdout) : undefined,
  };
}

function has(shell: string, options: string[]): boolean {
  return spawnSync(shell, [...options, '-c', ':']).status === 0;
}

for (const [shell, options] of shells) {
  const name = [shell, ...options].join(' ');
  t.test(`under ${name}`, { skip: !has(shell, options) && `${shell} is not here` }, async (t) => {
    const folder = install(t);
    const launch = (args: string[], env?: NodeJS.ProcessEnv) =>
      run(shell, [...options, join(folder, 'keyhole'), ...args], env);

    t.test('it becomes Node: one process, arguments untouched', async (t) => {
      const args = ['proxy', '--', 'a b', '', '*', "'", '$HOME', '-n'];
      const { pid, seen, status, stderr } = launch(args);
      t.match({ status, stderr }, { status: 0, stderr: '' });
      t.strictSame(seen.args, args);
      t.equal(seen.pid, pid, 'the shell is gone');
    });

    t.test('every NODE_* is cleared but the extra certificates', async (t) => {
      const { seen, stderr } = launch([], {
        NODE_OPTIONS: `--require ${join(folder, 'missing.js')}`,
        NODE_DEBUG: 'net,tls',
        NODE_CHANNEL_FD: '7',
        NODE_EXTRA_CA_CERTS: '/dev/null',
        NODE_ANYTHING_NEW: 'x=y z',
        NODE_: 'x',
        HOME: '/home/u',
      });
      t.strictSame(seen.node, ['NODE_EXTRA_CA_CERTS']);
      t.equal(seen.home, '/home/u');
      t.notMatch(stderr, /NET|missing/);
    });

    t.test('before it becomes Node it knocks where a daemon listens, and nowhere else', async (t) => {
      const home = t.testdir({ named: { knock: {} }, file: { '.ssh': { keyhole: { knock: 'no folder' } } } });
      const knock = join(home, '.ssh/keyhole/knock');
      const knocks = (folder: string) => (existsSync(folder) ? readdirSync(folder) : undefined);
      const words = ['proxy', '--', 'i-0', '22'];
      t.match(launch(words, { HOME: home }), { status: 0, stderr: '' });
      t.equal(knocks(knock), undefined, 'nobody listens');
      mkdirSync(knock, { recursive: true });
      t.match(launch(['status'], { HOME: home }), { status: 0, stderr: '' });
      t.same(knocks(knock), [], 'only for proxy');
      const { pid, stderr } = launch(words, { HOME: home });
      t.same({ knocks: knocks(knock), stderr }, { knocks: [String(pid)], stderr: '' });
      const named = join(home, 'named');
      const byName = [
        launch(words, { HOME: home, KEYHOLE_RUNTIME_DIR: named }),
        launch(['proxy', `--runtime-dir=${named}`, ...words.slice(1)], { HOME: home }),
      ];
      t.same(knocks(join(named, 'knock'))?.sort(), byName.map((each) => String(each.pid)).sort());
      t.match(launch(words, { HOME: join(home, 'file') }), { status: 0, stderr: '' }, 'what goes wrong is not told');
      t.match(launch(words), { status: 0, stderr: '' }, 'without HOME');
      if (process.getuid?.() === 0) {
        chownSync(knock, 65_534, 65_534);
        launch(words, { HOME: home });
        t.equal(knocks(knock)?.length, 1, 'not in the home of another (sudo -E)');
      }
    });

    t.test('values that look like code stay values', async (t) => {
      const hostile = `x'\nexport NODE_$(touch ${folder}/ran)='\nexport NODE_a;touch ${folder}/ran=\`touch ${folder}/ran\` * `;
      const { seen, status } = launch([], { HOSTILE: hostile, NODE_OPTIONS: hostile, NODE_DEBUG: 'x' });
      t.equal(status, 0);
      t.strictSame(seen.node, []);
      t.notOk(existsSync(join(folder, 'ran')));
    });
  });
}

t.test('it finds itself through symbolic links, absolute and relative', async (t) => {
  const folder = install(t);
  mkdirSync(join(folder, 'bin'));
  symlinkSync('../keyhole', join(folder, 'bin/relative'));
  symlinkSync(join(folder, 'bin/relative'), join(folder, 'bin/chain'));
  for (const [command, cwd] of [
    [join(folder, 'bin/relative'), '/'],
    [join(folder, 'bin/chain'), '/'],
    ['./bin/chain', folder],
    ['./keyhole', folder],
  ] as const) {
    t.match(run(command, ['x'], {}, cwd), { status: 0, seen: { args: ['x'] } }, command);
  }
  const onPath = run('sh', ['-c', 'exec relative x'], { PATH: `${join(folder, 'bin')}:${process.env.PATH}` });
  t.match(onPath, { status: 0, seen: { args: ['x'] } }, 'found on PATH');
});

t.test('Node is KEYHOLE_NODE, else the one installed beside, else that of a checkout, else that on PATH', async (t) => {
  const folder = install(t);
  /** A Node that only says who it is. */
  const fakeNode = (name: string, ...path: string[]) => {
    const file = join(folder, ...path);
    mkdirSync(join(file, '..'), { recursive: true });
    writeFileSync(file, `#!/bin/sh\necho ${name}\n`, { mode: 0o755 });
    return file;
  };
  const dist = join(folder, 'dist');
  mkdirSync(join(dist, 'lib'), { recursive: true });
  copyFileSync(launcher, join(dist, 'keyhole'));
  chmodSync(join(dist, 'keyhole'), 0o755);
  const found = (env: NodeJS.ProcessEnv = {}) =>
    run(join(dist, 'keyhole'), [], {
      KEYHOLE_NODE: '',
      PATH: `${join(folder, 'path')}:/usr/bin:/bin`,
      ...env,
    }).stdout.trim();

  fakeNode('path', 'path', 'node');
  t.equal(found(), 'path');
  fakeNode('checkout', 'node_modules', '.bin', 'node');
  t.equal(found(), 'checkout');
  fakeNode('beside', 'dist', 'node', 'bin', 'node');
  t.equal(found(), 'beside');
  t.equal(found({ KEYHOLE_NODE: fakeNode('chosen', 'chosen') }), 'chosen');
});

t.test('without any Node it says so and starts nothing', async (t) => {
  const folder = install(t);
  const { status, stdout, stderr } = run('/bin/sh', [join(folder, 'keyhole')], {
    KEYHOLE_NODE: '',
    PATH: join(folder, 'none'),
  });
  t.match({ status, stdout }, { status: 1, stdout: '' });
  t.match(stderr, /^keyhole: there is no Node\.js: node is not on PATH\nkeyhole: hint: .*22\.12.*\n$/);
  const wrong = run('/bin/sh', [join(folder, 'keyhole')], { KEYHOLE_NODE: '/nonexistent/node' });
  t.match(wrong, { status: 1, stderr: /^keyhole: there is no Node\.js: \/nonexistent\/node\n/ });
});
