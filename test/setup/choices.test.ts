// The small decisions of setup: where sockets go, whose agent stands behind, what is remembered, what systemd is told.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type ConfigFile, readConfigFile } from '../../src/config-file.ts';
import { chooseFolder, type FolderFacts } from '../../src/setup/folder.ts';
import { findMissing, type Memory, readMemory, removeEmpty, serializeMemory } from '../../src/setup/memory.ts';
import { readOptions } from '../../src/setup/options.ts';
import { renderServiceUnit, renderSocketUnit } from '../../src/setup/systemd.ts';
import { readIdentityAgent } from '../../src/setup/upstream.ts';

const facts: FolderFacts = {
  home: '/home/u',
  uid: 1000,
  env: {},
  usedDefault: '/home/u/.ssh/keyhole',
  fileSystemType: () => 0xef53,
  isFolder: () => true,
};
const usual = { path: '/home/u/.ssh/keyhole', written: '~/.ssh/keyhole', named: false };

t.test('sockets are below ~/.ssh, and nobody has to be told', async (t) => {
  t.same(chooseFolder(facts), usual);
});

t.test('KEYHOLE_RUNTIME_DIR is written where it holds, since other shells need not have it', async (t) => {
  const env = { KEYHOLE_RUNTIME_DIR: '/run/k' };
  t.same(chooseFolder({ ...facts, env }), { path: '/run/k', written: '/run/k', named: true });
  t.same(chooseFolder({ ...facts, env: { KEYHOLE_RUNTIME_DIR: '/home/u/.ssh/keyhole' } }), usual);
  t.same(chooseFolder({ ...facts, env: { KEYHOLE_RUNTIME_DIR: 'relative' } }), usual);
});

t.test('where HOME is not the home of ssh, the helper is told which', async (t) => {
  t.same(chooseFolder({ ...facts, usedDefault: '/github/home/.ssh/keyhole' }), { ...usual, named: true });
});

t.test('a home on the network, or too long for a socket, leads to the user’s folder of systemd', async (t) => {
  const runtime = { path: '/run/user/1000/keyhole', written: '/run/user/1000/keyhole', named: true };
  t.same(chooseFolder({ ...facts, fileSystemType: () => 0x6969 }), runtime);
  const home = `/home/${'u'.repeat(40)}`;
  t.same(chooseFolder({ ...facts, home, usedDefault: join(home, '.ssh/keyhole') }), runtime);
  t.same(chooseFolder({ ...facts, fileSystemType: () => 0x6969, isFolder: () => false }), usual, 'if there is one');
});

t.test('the agent that IdentityAgent named', async (t) => {
  const read = (value?: string) =>
    readIdentityAgent(new Map(value === undefined ? [] : [['identityagent', value]]), '/h/u');
  for (const value of [undefined, 'SSH_AUTH_SOCK', '$SSH_AUTH_SOCK'])
    t.same(read(value), { kind: 'usual' }, `${value}`);
  t.same(read('/run/agent'), { kind: 'path', path: '/run/agent' });
  t.same(read('~/.1password/agent.sock'), { kind: 'path', path: '/h/u/.1password/agent.sock' });
  t.same(read('"~/Library/Group Containers/a/agent.sock"'), {
    kind: 'path',
    path: '/h/u/Library/Group Containers/a/agent.sock',
  });
  t.same(read('%d/agent%%1'), { kind: 'path', path: '/h/u/agent%1' });
  t.same(read(`$\{HOME}/agent`), { kind: 'path', path: '/h/u/agent' });
  for (const value of ['none', '$OTHER', '/run/%u/agent', `$\{X}/agent`, '~bob/agent']) {
    t.same(read(value), { kind: 'unclear', value });
  }
});

const noFile: ConfigFile = { values: {}, hosts: [], forwards: {} };
const noOptions = { users: [], patterns: [], service: undefined };

t.test('options are read strictly: they end up in a configuration', async (t) => {
  const nothing = { user: 'ec2-user', tables: [], patterns: [], hostKeysVerified: false };
  t.same(readOptions(noOptions, noFile), nothing);
  t.same(readOptions({ users: ['admin', 'i-*.prod=ubuntu'], patterns: ['prod-?'], service: true }, noFile), {
    ...nothing,
    user: 'admin',
    tables: [{ patterns: ['i-*.prod'], user: 'ubuntu' }],
    patterns: ['prod-?'],
  });
  for (const users of [['a b'], ['x=-y'], ['a\nHost *=b'], ['!x=b'], ['=b']]) {
    t.throws(() => readOptions({ ...noOptions, users }, noFile), { code: /bad-u/ }, users.join());
  }
  for (const pattern of ['', 'a b', '-x', '!x', 'x\n', 'a,b']) {
    t.throws(() => readOptions({ ...noOptions, patterns: [pattern] }, noFile), { code: 'bad-usage' }, pattern);
  }
});

t.test(
  'the configuration file says who logs in, where host keys come from, and which names are keyhole’s',
  async (t) => {
    const folder = t.testdir({
      'config.toml': `
user = "admin"
host_keys = "console-output"
[host."*.prod, !i-00*"]
user = "ubuntu"
[host."db db-?"]
target = "i-0123456789abcdef0"
host_keys = "off"
`,
    });
    const file = readConfigFile(join(folder, 'config.toml'));
    t.same(readOptions(noOptions, file), {
      user: 'admin',
      tables: [
        { patterns: ['*.prod', '!i-00*'], user: 'ubuntu' },
        { patterns: ['db', 'db-?'], hostKeysVerified: false },
      ],
      patterns: ['db', 'db-?'],
      hostKeysVerified: true,
    });
    t.equal(readOptions({ ...noOptions, users: ['root'] }, file).user, 'root', 'an option wins');
  },
);

t.test('what is remembered is read again; what cannot be read is nothing', async (t) => {
  const file = join(t.testdir(), 'setup.json');
  t.equal(readMemory(file), undefined);
  const memory: Memory = {
    options: { users: ['a'], patterns: [], service: false },
    made: ['/home/u/.ssh'],
    runtimeDir: '/run/k',
  };
  writeFileSync(file, serializeMemory(memory));
  t.same(readMemory(file), memory);
  for (const text of ['', '{}', '[]', '{"options":{"users":[1],"patterns":[]},"made":[]}']) {
    writeFileSync(file, text);
    t.equal(readMemory(file), undefined, text);
  }
});

t.test('what was missing is removed again if nothing is in it, and only then', async (t) => {
  const home = t.testdir({ '.config': {}, empty: '', full: 'x' });
  const inHome = (...names: string[]) => join(home, ...names);
  const wanted = [inHome('.config/systemd/user'), inHome('.ssh/keyhole/config'), '/nonexistent/elsewhere', undefined];
  const missing = findMissing(home, wanted);
  t.same(
    missing.sort(),
    ['.config/systemd', '.config/systemd/user', '.ssh', '.ssh/keyhole', '.ssh/keyhole/config'].map((name) =>
      inHome(name),
    ),
  );
  mkdirSync(inHome('.config/systemd/user'), { recursive: true });
  mkdirSync(inHome('.ssh/other'), { recursive: true });
  removeEmpty([...missing, inHome('empty'), inHome('full')]);
  t.ok(existsSync(inHome('.config')), 'it was there before');
  t.notOk(existsSync(inHome('.config/systemd')));
  t.ok(existsSync(inHome('.ssh')), 'somebody else has put something there');
  t.notOk(existsSync(inHome('empty')));
  t.ok(existsSync(inHome('full')));
});

t.test('units: any path arrives, and none adds a line', async (t) => {
  const command = '/home/a b/100%/$x/"q"/keyhole';
  const service = renderServiceUnit(command, { XDG_STATE_HOME: '/s t', KEYHOLE_RUNTIME_DIR: '/run/k' });
  t.match(service, 'ExecStart="/home/a b/100%%/$$x/\\"q\\"/keyhole" daemon run\n');
  t.match(service, 'Environment="XDG_STATE_HOME=/s t"\nEnvironment=KEYHOLE_RUNTIME_DIR=/run/k\n');
  t.match(renderSocketUnit('/home/u/.ssh/100%/control.sock'), 'ListenStream=/home/u/.ssh/100%%/control.sock\n');
  t.throws(() => renderServiceUnit('/a\nExecStart=/b', {}), { code: 'unwritable-path' });
  t.throws(() => renderSocketUnit('/a\nListenStream=22'), { code: 'unwritable-path' });
});

const hasAnalyze = spawnSync('systemd-analyze', ['--version']).status === 0;
t.test('units are what systemd understands', { skip: !hasAnalyze && 'no systemd-analyze here' }, async (t) => {
  const folder = t.testdir({
    'keyhole.socket': renderSocketUnit('/run/keyhole-test/control.sock'),
    'keyhole.service': renderServiceUnit(process.execPath, { A: 'b c' }),
  });
  const units = ['keyhole.socket', 'keyhole.service'].map((name) => join(folder, name));
  const { stderr } = spawnSync('systemd-analyze', ['verify', '--user', '--man=no', ...units], {
    encoding: 'utf8',
    env: { ...process.env, XDG_RUNTIME_DIR: folder },
  });
  // It complains of other units of this machine too.
  t.notMatch(stderr, /keyhole\.(socket|service)/);
});
