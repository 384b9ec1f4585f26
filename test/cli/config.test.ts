import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { config } from '../../src/cli/config.ts';
import { Terminal } from '../../src/cli/terminal.ts';

const id = 'i-0123456789abcdef0';

function setUp(t: Test, text: string, env: Record<string, string> = {}) {
  const home = t.testdir({});
  const file = join(home, '.config/keyhole/config.toml');
  mkdirSync(join(home, '.config/keyhole'), { recursive: true });
  writeFileSync(file, text);
  const show = async (host: string | undefined, json: boolean) => {
    let printed = '';
    const terminal = new Terminal((_, text) => {
      printed += text;
    });
    const signal = new AbortController().signal;
    await config({ host, json }, { terminal, env: { HOME: home, ...env }, signal, isCompiled: false });
    return printed;
  };
  return { file, show };
}

t.test('it shows what a name means, and of each setting the value and the place', async (t) => {
  const text = `ping_interval = 5\n\n[host.db]\ntarget = "${id}"\nprofile = "prod"\n`;
  const { file, show } = setUp(t, text, { KEYHOLE_TRANSPORT: 'ssm' });
  const lines = (await show('db', false)).split('\n');
  t.equal(lines[0], `db is ${id}; region: the one of the AWS settings; profile: prod`);
  const row = (name: string) => lines.find((line) => line.startsWith(`${name} `))?.split(/ {2,}/);
  t.strictSame(row('profile'), ['profile', 'prod', `${file}:5:1 [host."db"]`]);
  t.strictSame(row('ping_interval'), ['ping_interval', '5s', `${file}:1:1`]);
  t.strictSame(row('transport'), ['transport', 'ssm', 'KEYHOLE_TRANSPORT']);
  t.strictSame(row('region'), ['region', '-', 'default']);
});

t.test('without a host it shows what holds for all, and programs get JSON', async (t) => {
  const { file, show } = setUp(t, '[host."*"]\nregion = "eu-west-1"\n');
  t.notMatch(await show(undefined, false), 'eu-west-1');
  const all = JSON.parse(await show(undefined, true));
  t.match(all, { file, settings: { region: { origin: { from: 'default' } }, deadline: { value: '14s' } } });
  const ofHost = JSON.parse(await show(id, true));
  t.match(ofHost, { host: { name: id, instanceId: id, region: 'eu-west-1' } });
  t.strictSame(ofHost.settings.region, {
    value: 'eu-west-1',
    origin: { from: 'file', file, line: 2, column: 1, host: '*' },
  });
});

t.test('a host that nobody knows is an error', async (t) => {
  const { show } = setUp(t, '');
  await t.rejects(show('db', false), { code: 'bad-host' });
});
