// What setup writes is read by ssh itself: each text here goes through `ssh -G`.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Block, renderConfig, renderForWindows, renderHost, sshWord } from '../../src/setup/block.ts';

const block: Block = {
  command: '/home/u/.local/lib/keyhole/keyhole',
  options: [],
  patterns: [],
  user: 'ec2-user',
  tables: [],
  folder: '~/.ssh/keyhole',
  hostsFile: '~/.ssh/keyhole/hosts-that-nobody-has',
  hostKeysVerified: false,
  resumeTimeoutMs: 1_200_000,
};

function ask(t: Test, config: string, host: string): Map<string, string> {
  const folder = mkdtempSync(join(tmpdir(), 'keyhole-block-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'config');
  writeFileSync(file, config, { mode: 0o600 });
  const { status, stdout, stderr } = spawnSync('ssh', ['-F', file, '-G', '--', host], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return new Map(stdout.split('\n').map((line) => line.split(/ (.*)/s) as [string, string]));
}

t.test('ids of either kind, with what may follow them, and names go through keyhole; others do not', async (t) => {
  const config = renderConfig(block);
  for (const host of [
    'i-01234567',
    'i-0123456789abcdef0',
    'i-0123456789abcdef0.eu-west-1.prod',
    'mi-0123456789abcdef0',
    'mi-0123456789abcdef0.eu-west-1',
    'web-1.ec2',
    'web-1.eu-west-1.prod.ec2',
  ]) {
    const applied = ask(t, config, host);
    t.equal(applied.get('proxycommand'), '/home/u/.local/lib/keyhole/keyhole proxy -- %h %p %r', host);
  }
  for (const host of ['mi-nas', 'mi-01234567', 'i-robot', 'i-', 'example.com', 'i-0123456789abcdef', 'ec2']) {
    t.equal(ask(t, config, host).get('proxycommand'), undefined, host);
  }
});

t.test('every line arrives at ssh as it is meant', async (t) => {
  const applied = ask(t, renderConfig(block), 'i-0123456789abcdef0');
  t.equal(applied.get('proxyusefdpass'), 'yes');
  t.match(applied.get('identityagent'), /\/\.ssh\/keyhole\/agent\/(ec2-user@i-0123456789abcdef0:22|%r@%h:%p)$/);
  t.equal(applied.get('identitiesonly'), 'no');
  t.match(applied.get('userknownhostsfile'), /^\S+\/\.ssh\/keyhole\/known_hosts \S+\/\.ssh\/known_hosts$/);
  t.equal(applied.get('stricthostkeychecking'), 'accept-new');
  t.equal(applied.get('user'), 'ec2-user');
  const patience = Number(applied.get('serveraliveinterval')) * Number(applied.get('serveralivecountmax'));
  t.ok(patience > 1_200, `ssh waits ${patience} s, longer than a session is tried to be resumed`);
});

t.test('host keys that come from AWS are the only ones', async (t) => {
  const applied = ask(t, renderConfig({ ...block, hostKeysVerified: true }), 'i-0123456789abcdef0');
  t.match(applied.get('userknownhostsfile'), /^\S+\/\.ssh\/keyhole\/known_hosts$/);
  t.match(applied.get('stricthostkeychecking'), /^(yes|true)$/);
});

t.test('what holds for some hosts: the first that matches, and keyhole’s hosts only', async (t) => {
  const tables = [
    { patterns: ['i-*.prod', '!i-00*'], user: 'ubuntu' },
    { patterns: ['*.prod'], user: 'admin', hostKeysVerified: true },
  ];
  const config = renderConfig({ ...block, tables, patterns: ['prod-*'] });
  t.equal(ask(t, config, 'i-0123456789abcdef0.prod').get('user'), 'ubuntu');
  t.match(ask(t, config, 'i-0123456789abcdef0.prod').get('stricthostkeychecking'), /^(yes|true)$/);
  t.equal(ask(t, config, 'i-00123456.prod').get('user'), 'admin');
  t.equal(ask(t, config, 'mi-0123456789abcdef0.prod').get('user'), 'admin');
  t.match(ask(t, config, 'mi-0123456789abcdef0.prod').get('userknownhostsfile'), /^\S+\/\.ssh\/keyhole\/known_hosts$/);
  t.equal(ask(t, config, 'i-0123456789abcdef0').get('user'), 'ec2-user');
  t.equal(ask(t, config, 'i-0123456789abcdef0').get('stricthostkeychecking'), 'accept-new');
  t.not(ask(t, config, 'www.prod').get('user'), 'admin', 'a host of others');
  t.match(ask(t, config, 'prod-7').get('proxycommand'), /keyhole proxy/);
});

t.test('host aliases come before the block, so that their login names count', async (t) => {
  const folder = t.testdir({ hosts: 'Host web.ec2\n    HostName i-0123456789abcdef0\n    User ubuntu\n' });
  const applied = ask(t, renderConfig({ ...block, hostsFile: join(folder, 'hosts') }), 'web.ec2');
  t.equal(applied.get('hostname'), 'i-0123456789abcdef0');
  t.equal(applied.get('user'), 'ubuntu');
  t.match(applied.get('proxycommand'), /keyhole proxy/);
});

t.test('a command and folders with any characters are run as they are, by any shell', async (t) => {
  const shells = ['sh', 'bash', 'zsh', 'fish'].filter((shell) => spawnSync(shell, ['-c', 'exit 0']).status === 0);
  for (const name of ['plain', 'a b', "it's", 'a"b', '100%h', '$HOME', '`id`', 'a;b&c', 'a#b', 'ü', '~x', 'a*[b]']) {
    const folder = join(t.testdir(), name);
    mkdirSync(folder);
    const command = join(folder, 'keyhole');
    writeFileSync(command, '#!/bin/sh\nfor arg; do printf "<%s>" "$arg"; done >&2\necho >&2\n', { mode: 0o755 });
    const config = renderHost({ ...block, command, options: [`--runtime-dir=${folder}`] });
    const file = join(t.testdirName, 'config');
    writeFileSync(file, config.replace('ProxyUseFdpass yes', 'ProxyUseFdpass no'), { mode: 0o600 });
    for (const shell of shells) {
      const { stderr } = spawnSync('ssh', ['-F', file, '-p', '77', 'i-01234567'], {
        encoding: 'utf8',
        env: {
          ...process.env,
          SHELL: spawnSync('sh', ['-c', `command -v ${shell}`], { encoding: 'utf8' }).stdout.trim(),
        },
      });
      const expected = `<proxy><--runtime-dir=${folder}><--><i-01234567><77><ec2-user>`;
      t.equal(
        stderr.split('\n').find((line) => line.startsWith('<')),
        expected,
        `${name}, ${shell}`,
      );
    }
  }
});

t.test('what cannot be written without doubt is refused', async (t) => {
  const refused = (change: Partial<Block>) => () => renderConfig({ ...block, ...change });
  const code = { code: 'unwritable-path' };
  t.throws(refused({ command: '/a\\b/keyhole' }), code);
  t.throws(refused({ command: '/a\nHost *\n/keyhole' }), code);
  t.throws(refused({ folder: '/a"b' }), code);
  t.throws(refused({ folder: '/a\nb' }), code);
  t.throws(refused({ folder: `/a$\{HOME}` }), code);
  t.equal(sshWord('/a b'), '"/a b"');
});

t.test('the block for Windows has no unix socket and no shell', async (t) => {
  const text = renderForWindows(block);
  t.match(text, /ProxyCommand node "C:\\path\\to\\keyhole\\lib\\main\.js" proxy --no-daemon -- %h %p %r/);
  t.notMatch(text, /IdentityAgent|Fdpass/);
});
