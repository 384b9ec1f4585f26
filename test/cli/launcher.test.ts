// src/launcher.sh under every shell that is here: what it finds, what it clears, what it becomes.
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { shortFolder } from '../unix-sockets.ts';

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

const hasPerl = process.platform === 'linux' && existsSync('/usr/bin/perl');

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

    t.test(
      'where a daemon listens and ssh wants a descriptor, it becomes perl',
      { skip: !hasPerl && 'no perl' },
      async (t) => {
        const home = shortFolder(t);
        const sockets = join(home, '.ssh/keyhole');
        const words = ['proxy', '--', 'i-0', '22'];
        const wanted = { HOME: home, KEYHOLE_FDPASS: '1' };
        writeFileSync(
          join(folder, 'lib/warm.pl'),
          'print "WARM ", join("|", $$, $ENV{NODE_CHANNEL_FD} // "", @ARGV); open my $f, ">&=3"; print $f "told"; warn "not told";',
        );
        const node = process.execPath;
        const warm = (words: string[]) =>
          ['', node, '--max-semi-space-size=1', join(folder, 'lib/main.js'), ...words].join('|');
        t.ok(launch(words, wanted).seen, 'nobody listens');
        mkdirSync(sockets, { recursive: true });
        const server = createServer().listen(join(sockets, 'control.sock'));
        await once(server, 'listening');
        t.teardown(() => server.close());
        const became = launch(words, wanted);
        t.match(became, { status: 0, stdout: `WARM ${became.pid}|${warm(words)}`, stderr: /^told$/ });
        const elsewhere = { HOME: '/nowhere', KEYHOLE_FDPASS: '1' };
        t.match(launch(words, { ...elsewhere, KEYHOLE_RUNTIME_DIR: sockets }).stdout, /^WARM/);
        const named = ['proxy', `--runtime-dir=${sockets}`, ...words.slice(1)];
        const byWord = launch(named, elsewhere);
        t.equal(byWord.stdout, `WARM ${byWord.pid}|${warm(named)}`);
        t.ok(launch(words, elsewhere).seen, 'not there');
        t.ok(launch(words, { ...wanted, KEYHOLE_FDPASS: '0' }).seen, 'no descriptor is wanted');
        t.ok(launch(['status'], wanted).seen, 'only for proxy');
        for (const variable of ['PERL5OPT', 'PERLIO', 'PERL_UNICODE']) {
          t.ok(launch(words, { ...wanted, [variable]: 'x' }).seen, `${variable} is set`);
        }
      },
    );

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
