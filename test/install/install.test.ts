// install.sh in bare folders, under every shell that is here. Node, npm and the program are stand-ins that say what they
// are asked for, so that every version and every mishap can be had; the real ones are in test/e2e/install.test.ts.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
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
import { arch, platform, tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { top } from '../house/tree.ts';

const which = (command: string) => spawnSync('sh', ['-c', `command -v ${command}`], { encoding: 'utf8' }).stdout.trim();
const shells = ['dash', 'bash', 'busybox'].filter((shell) => which(shell) !== '');

/** A folder with the programs that every system has, and no Node: the system's own folders may have one. */
const tools = mkdtempSync(join(tmpdir(), 'keyhole-tools-'));
t.teardown(() => rmSync(tools, { recursive: true }));
for (const name of [
  'awk',
  'cat',
  'chmod',
  'cp',
  'cut',
  'dirname',
  'find',
  'grep',
  'gzip',
  'head',
  'ln',
  'ls',
  'mkdir',
  'mktemp',
  'mv',
  'readlink',
  'rm',
  'rmdir',
  'sed',
  'sh',
  'sort',
  'tar',
  'tr',
  'uname',
]) {
  symlinkSync(which(name), join(tools, name));
}

const system = `${platform() === 'linux' ? 'Linux' : 'Darwin'}-${arch() === 'x64' ? 'x86_64' : platform() === 'linux' ? 'aarch64' : 'arm64'}`;
const script = readFileSync(join(top, 'install.sh'), 'utf8');
const [, ownPackage = '', ownVersion = ''] = new RegExp(`^${system} (\\S+) (\\S+) `, 'm').exec(script) ?? [];

/** A Node that says which version it is; it runs no JavaScript, but plays the program. */
function fakeNode(version: string, log: string, execPath = ''): string {
  return `#!/bin/sh
case $* in
  '-p process.versions.node') echo ${version} ;;
  '-p process.execPath') echo "${execPath || '$0'}" ;;
  *createHash*) exec '${process.execPath}' "$@" ;;
  *--version) echo 0.1.0 ;;
  *completion*) echo "completion $*" ;;
  *) echo "$*" | sed 's/.*main.js //' >>'${log}' ;;
esac
`;
}

interface Stand {
  home: string;
  release: string;
  bin: string;
  log: string;
  run(args: string[], env?: Record<string, string>): { status: number | null; stdout: string; stderr: string };
  /** Everything below the home: kind, mode, content. */
  list(): string[];
}

function setUp(t: Test, shell: string, { node }: { node: string | undefined }): Stand {
  const folder = t.testdir({ home: {}, release: { dist: { lib: {} }, man: {} }, bin: {} });
  const [home, release, bin, log] = ['home', 'release', 'bin', 'log'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
    string,
  ];
  cpSync(join(top, 'install.sh'), join(release, 'install.sh'));
  cpSync(join(top, 'src/launcher.sh'), join(release, 'dist/keyhole'));
  writeFileSync(join(release, 'dist/lib/main.js'), '');
  writeFileSync(join(release, 'man/keyhole.1'), 'a page\n');
  if (node !== undefined) writeProgram(join(bin, 'node'), fakeNode(node, log));
  const options = shell === 'busybox' ? ['sh'] : [];
  return {
    home,
    release,
    bin,
    log,
    run(args, env = {}) {
      const result = spawnSync(which(shell), [...options, join(release, 'install.sh'), ...args], {
        encoding: 'utf8',
        cwd: folder,
        env: { HOME: home, PATH: `${bin}:${tools}`, LC_ALL: 'C', ...env },
      });
      return { status: result.status, stdout: result.stdout, stderr: result.stderr };
    },
    list: () => list(home),
  };
}

function writeProgram(path: string, text: string): void {
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, text, { mode: 0o755 });
}

function list(folder: string): string[] {
  return (readdirSync(folder, { recursive: true }) as string[]).sort().map((name) => {
    const path = join(folder, name);
    const status = lstatSync(path);
    const content = status.isSymbolicLink()
      ? readlinkSync(path)
      : status.isFile()
        ? createHash('sha256').update(readFileSync(path)).digest('hex')
        : '';
    return `${name} ${status.mode.toString(8)} ${content}`;
  });
}

for (const shell of shells) {
  t.test(`under ${shell}`, async (t) => {
    t.test('what was installed is there, runs, and goes without a trace', async (t) => {
      const stand = setUp(t, shell, { node: '24.1.0' });
      mkdirSync(join(stand.home, '.local/share'), { recursive: true });
      const before = stand.list();
      const { status, stdout, stderr } = stand.run([]);
      t.match({ status, stderr }, { status: 0, stderr: '' });
      t.match(stdout, `next: ${stand.home}/.local/bin/keyhole setup`, 'without a terminal nobody is asked');
      const at = (name: string) => join(stand.home, '.local', name);
      t.equal(spawnSync(at('bin/keyhole'), ['--version'], { encoding: 'utf8' }).stdout, '0.1.0\n');
      t.equal(readlinkSync(at('lib/keyhole/node')), join(stand.bin, 'node'));
      t.equal(readFileSync(at('share/man/man1/keyhole.1'), 'utf8'), 'a page\n');
      for (const [file, name] of [
        ['share/bash-completion/completions/keyhole', 'bash'],
        ['share/zsh/site-functions/_keyhole', 'zsh'],
        ['share/fish/vendor_completions.d/keyhole.fish', 'fish'],
      ] as const) {
        t.match(readFileSync(at(file), 'utf8'), `completion ${name}`);
      }
      const once = stand.list();
      t.equal(stand.run([]).status, 0);
      t.strictSame(stand.list(), once, 'a second time changes nothing');
      t.equal(stand.run(['--uninstall']).status, 0);
      t.match(readFileSync(stand.log, 'utf8'), /^setup --remove$/m);
      t.strictSame(stand.list(), before);
    });

    t.test('the Node of the system, where it is new enough; else one beside keyhole', async (t) => {
      const versions: [string, boolean][] = [
        ['22.11.0', false],
        ['22.12.0', true],
      ];
      // How numbers are compared is the same under every shell.
      if (shell === shells[0]) versions.push(['20.20.2', false], ['24.21.0', true], ['26.10.0', true], ['', false]);
      for (const [version, fits] of versions) {
        const stand = setUp(t, shell, { node: version });
        writeProgram(join(stand.release, `node_modules/${ownPackage}/bin/node`), fakeNode(ownVersion, stand.log));
        const { status, stderr } = stand.run([]);
        t.match({ status, stderr }, { status: 0, stderr: '' }, version);
        const node = join(stand.home, '.local/lib/keyhole/node');
        t.equal(lstatSync(node).isSymbolicLink(), fits, version);
        t.equal(existsSync(join(node, 'bin/node')), !fits, version);
      }
    });

    t.test('a shim is not what keyhole runs with, but what it stands for', async (t) => {
      const stand = setUp(t, shell, { node: undefined });
      const real = join(stand.bin, '../versions/24/node');
      writeProgram(real, fakeNode('24.0.0', stand.log));
      writeProgram(join(stand.bin, 'node'), fakeNode('24.0.0', stand.log, real));
      t.equal(stand.run([]).status, 0);
      t.equal(readlinkSync(join(stand.home, '.local/lib/keyhole/node')), real);
    });

    t.test('without any Node and npm, nothing is installed and the reason is said', async (t) => {
      const stand = setUp(t, shell, { node: undefined });
      t.match(stand.run([]), {
        status: 1,
        stderr: /install.sh: Node 22\.12 or newer is needed.*\n.*nothing was installed/,
      });
      t.strictSame(stand.list(), [], 'not even a folder');
    });

    t.test('a Node from the registry whose checksum is another is not used', async (t) => {
      const stand = setUp(t, shell, { node: '20.0.0' });
      const archive = `${ownPackage}-${ownVersion}.tgz`;
      writeProgram(join(stand.bin, 'npm'), `#!/bin/sh\necho "$*" >>'${stand.log}'\necho something else >${archive}\n`);
      t.match(stand.run([]), { status: 1, stderr: /is not what it should be/ });
      t.match(readFileSync(stand.log, 'utf8'), `${ownPackage}@${ownVersion}`);
      t.strictSame(stand.list(), [], 'not even a folder');
    });

    t.test('a dry run says what would be done, and does nothing', async (t) => {
      const stand = setUp(t, shell, { node: '24.0.0' });
      t.match(stand.run(['--dry-run']), { status: 0, stdout: `${stand.home}/.local/bin/keyhole` });
      t.strictSame(stand.list(), []);
      stand.run([]);
      const installed = stand.list();
      t.match(stand.run(['--uninstall', '--dry-run']), { status: 0, stdout: `${stand.home}/.local/bin/keyhole` });
      t.strictSame(stand.list(), installed);
    });

    t.test('a prefix with blanks, relative, and not there yet', async (t) => {
      const stand = setUp(t, shell, { node: '24.0.0' });
      const prefix = 'home/my programs/here';
      t.match(stand.run([`--prefix=${prefix}`]), { status: 0, stderr: '' });
      const installed = join(stand.home, 'my programs/here/lib/keyhole/install.sh');
      t.match(stand.run(['--prefix', prefix]), { status: 0, stderr: '' });
      const { status } = spawnSync(which('sh'), [installed, '--uninstall'], {
        env: { PATH: process.env.PATH, HOME: '/nonexistent' },
      });
      t.equal(status, 0, 'the copy that was installed knows where it is');
      t.strictSame(stand.list(), []);
    });

    t.test('two at once: the second is told so', async (t) => {
      const stand = setUp(t, shell, { node: '24.0.0' });
      mkdirSync(join(stand.home, '.local/lib/.keyhole.lock'), { recursive: true });
      const before = stand.list();
      t.match(stand.run([]), { status: 1, stderr: /another install\.sh .* remove .*\/lib\/\.keyhole\.lock/ });
      t.strictSame(stand.list(), before);
    });

    t.test('what others have put there is not touched', async (t) => {
      const stand = setUp(t, shell, { node: '24.0.0' });
      writeProgram(join(stand.home, '.local/bin/keyhole'), 'something else');
      const before = stand.list();
      t.match(stand.run([]), { status: 1, stderr: /bin\/keyhole is there already/ });
      t.strictSame(stand.list(), before);
      rmSync(join(stand.home, '.local/bin/keyhole'));
      stand.run([]);
      writeProgram(join(stand.home, '.local/share/man/man1/other.1'), 'another page');
      t.equal(stand.run(['--uninstall']).status, 0);
      t.ok(existsSync(join(stand.home, '.local/share/man/man1/other.1')));
      t.notOk(existsSync(join(stand.home, '.local/lib')));
    });

    t.test('what an earlier version had and this one has not goes', async (t) => {
      const stand = setUp(t, shell, { node: '24.0.0' });
      writeFileSync(join(stand.release, 'man/keyhole-old.1'), 'an old page\n');
      stand.run([]);
      rmSync(join(stand.release, 'man/keyhole-old.1'));
      stand.run([]);
      t.notOk(existsSync(join(stand.home, '.local/share/man/man1/keyhole-old.1')));
      stand.run(['--uninstall']);
      t.strictSame(stand.list(), []);
    });

    t.test('--setup lets ssh go through keyhole at once', async (t) => {
      const stand = setUp(t, shell, { node: '24.0.0' });
      t.equal(stand.run(['--setup']).status, 0);
      t.equal(readFileSync(stand.log, 'utf8'), 'setup\n');
    });

    t.test('used wrongly', async (t) => {
      const stand = setUp(t, shell, { node: '24.0.0' });
      t.match(stand.run(['--no-such-option']), { status: 2, stdout: '', stderr: /no option --no-such-option; --help/ });
      t.match(stand.run(['--help']), { status: 0, stdout: /--prefix=DIR/, stderr: '' });
      t.match(stand.run([], { HOME: '' }), { status: 1, stderr: /there is no HOME/ });
      t.match(stand.run(['--uninstall']), { status: 1, stderr: /is not installed below/ });
      t.strictSame(stand.list(), []);
    });
  });
}

t.test(
  'the Node that is fetched is that of package.json, with the checksums of package-lock.json where it has them',
  async (t) => {
    const wanted = JSON.parse(readFileSync(join(top, 'package.json'), 'utf8')).optionalDependencies as Record<
      string,
      string
    >;
    const locked = JSON.parse(readFileSync(join(top, 'package-lock.json'), 'utf8')).packages;
    const rows = [...script.matchAll(/^(?:Linux|Darwin)-\S+ (\S+) (\S+) (sha512-\S+)$/gm)];
    t.strictSame(Object.fromEntries(rows.map(([, name, version]) => [name, version])), wanted);
    for (const [, name, , checksum] of rows) t.equal(checksum, locked[`node_modules/${name}`].integrity, name!);
  },
);

const hasShellcheck = spawnSync('shellcheck', ['--version']).status === 0;
t.test('shellcheck has nothing to say', { skip: !hasShellcheck && 'shellcheck is not installed' }, async (t) => {
  const { status, stdout } = spawnSync('shellcheck', [join(top, 'install.sh')], { encoding: 'utf8' });
  t.match({ status, stdout }, { status: 0, stdout: '' });
});
