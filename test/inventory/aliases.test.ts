// Names for ssh's configuration: what ssh itself makes of them, and what nobody can make of a Name tag.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { aliasesOf, renderAliases } from '../../src/inventory/aliases.ts';
import type { ListedHost } from '../../src/inventory/inventory.ts';

const none = { region: undefined, profile: undefined };

function host(id: string, name?: string, platform?: string): ListedHost {
  const rest = { state: 'running', agent: 'Online', agentVersion: '3.3.0.0', address: '10.0.0.1' };
  return { id, name, platform, ...rest, reachableBy: ['ssm'] };
}

function ask(t: Test, file: string, name: string): Map<string, string> {
  const folder = mkdtempSync(join(tmpdir(), 'keyhole-hosts-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'config'), file, { mode: 0o600 });
  const { stdout, stderr, status } = spawnSync('ssh', ['-F', join(folder, 'config'), '-G', '--', name], {
    encoding: 'utf8',
  });
  t.equal(status, 0, stderr);
  return new Map(stdout.split('\n').map((line) => line.split(/ (.*)/s) as [string, string]));
}

t.test('a name, a name that two have, no name', async (t) => {
  const hosts = [
    host('i-01234567', 'web-1', 'Ubuntu 24.04'),
    host('i-11111111', 'db', 'Amazon Linux 2023'),
    host('i-22222222', 'db', 'Something else'),
    host('mi-0123456789abcdef0'),
  ];
  t.same(aliasesOf(hosts, none), [
    { alias: 'web-1.ec2', hostName: 'i-01234567', user: 'ubuntu' },
    { alias: 'db-i-11111111.ec2', hostName: 'i-11111111', user: 'ec2-user' },
    { alias: 'db-i-22222222.ec2', hostName: 'i-22222222', user: undefined },
    { alias: 'mi-0123456789abcdef0', hostName: 'mi-0123456789abcdef0', user: undefined },
  ]);
  t.same(aliasesOf(hosts.slice(0, 1), { region: 'eu-west-1', profile: 'prod' }), [
    { alias: 'web-1.eu-west-1.prod.ec2', hostName: 'i-01234567.eu-west-1.prod', user: 'ubuntu' },
  ]);
});

t.test('the login names of platforms as EC2 and Systems Manager call them', async (t) => {
  for (const [platform, user] of [
    ['Amazon Linux 2', 'ec2-user'],
    ['Debian GNU/Linux 12', 'admin'],
    ['Red Hat Enterprise Linux', 'ec2-user'],
    ['Microsoft Windows Server 2022', 'Administrator'],
    ['Linux/UNIX', undefined],
    [undefined, undefined],
  ] as const) {
    t.equal(aliasesOf([host('i-01234567', 'x', platform)], none)[0]?.user, user, `${platform}`);
  }
});

t.test('ssh takes the file', async (t) => {
  const file = renderAliases('', 'here', aliasesOf([host('i-01234567', 'web-1', 'Ubuntu'), host('i-11111111')], none));
  const applied = ask(t, file, 'web-1.ec2');
  t.equal(applied.get('hostname'), 'i-01234567');
  t.equal(applied.get('user'), 'ubuntu');
  t.equal(ask(t, file, 'i-11111111').get('hostname'), 'i-11111111');
});

t.test('each region and profile has its part; others stay as they are', async (t) => {
  const one = renderAliases('', 'eu-west-1', aliasesOf([host('i-01234567', 'a')], { ...none, region: 'eu-west-1' }));
  const two = renderAliases(one, 'us-east-1', aliasesOf([host('i-11111111', 'b')], { ...none, region: 'us-east-1' }));
  t.match(two, 'Host a.eu-west-1.ec2\n');
  t.match(two, 'Host b.us-east-1.ec2\n');
  const again = renderAliases(two, 'eu-west-1', aliasesOf([host('i-22222222', 'c')], { ...none, region: 'eu-west-1' }));
  t.notMatch(again, 'a.eu-west-1');
  t.match(again, 'Host c.eu-west-1.ec2\n');
  t.match(again, 'Host b.us-east-1.ec2\n');
  t.equal(
    renderAliases(again, 'eu-west-1', aliasesOf([host('i-22222222', 'c')], { ...none, region: 'eu-west-1' })).length,
    again.length,
  );
});

t.test('whatever the Name tag is, the file has lines of three kinds, and no name of another host', async () => {
  const nasty = [
    '\nHost *\n  ProxyCommand touch bad',
    'x\rHost github.com',
    '*',
    '!a',
    'github.com',
    '-oProxyCommand=x',
    'a b',
    '"',
    '#',
    '%h',
    '$(id)',
    'i-0123456789abcdef0',
    '\u2028Host *',
    '.',
    '..ec2',
    'a.eu-west-1',
    'ä',
    '\0',
  ];
  const name = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.constantFrom(...nasty),
    fc.constantFrom(...nasty).chain((a) => fc.constantFrom(...nasty).map((b) => a + b)),
  );
  fc.assert(
    fc.property(fc.array(name, { minLength: 1, maxLength: 5 }), (names) => {
      const ids = names.map((_, at) => `i-0000000${at}`);
      const file = renderAliases(
        '',
        'here',
        aliasesOf(
          names.map((tag, at) => host(ids[at]!, tag, tag)),
          none,
        ),
      );
      const lines = file
        .split('\n')
        .slice(1, -1)
        .filter((line) => line !== '## here');
      const aliases = lines.filter((line) => line.startsWith('Host ')).map((line) => line.slice(5));
      return (
        lines.every((line) =>
          /^(?:Host (?:[A-Za-z0-9_][A-Za-z0-9_-]*\.ec2|i-0000000\d)| {4}HostName i-0000000\d| {4}User [A-Za-z0-9-]+)$/.test(
            line,
          ),
        ) &&
        aliases.length === names.length &&
        new Set(aliases).size === names.length
      );
    }),
    { numRuns: 1_000 },
  );
});
