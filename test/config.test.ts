import { join } from 'node:path';
import t, { type Test } from 'tap';
import { aliases, findSettings, loadSettings } from '../src/config.ts';
import { ConfigError, UsageError } from '../src/errors.ts';
import { envName, fileKey, flagName, settings, showDuration } from '../src/settings.ts';

const none = { env: {}, file: undefined };

/** The settings that hold with this text as configuration file. */
function withFile(t: Test, text: string, env: NodeJS.ProcessEnv = {}, flags: Record<string, string> = {}) {
  return loadSettings({ flags, env, file: fileOf(t, text) });
}

function fileOf(t: Test, text: string): string {
  return join(t.testdir({ 'config.toml': text }), 'config.toml');
}

t.test('without any source the defaults hold, and each of them would be allowed', async (t) => {
  const defaults = loadSettings(none);
  t.match(defaults, {
    maxPayloadBytes: 32768,
    maxMessagesPerSecond: 900,
    deadlineMs: 14_000,
    sshDocument: 'AWS-StartSSHSession',
  });
  for (const [name, setting] of Object.entries(settings)) {
    t.equal(defaults[name as keyof typeof defaults], setting.default);
    if (setting.default === undefined) continue;
    const text = name.endsWith('Ms') ? showDuration(setting.default as number) : setting.default;
    t.strictSame(setting.read(text), setting.default, name);
  }
});

t.test('a setting has one name, written in the manner of the place', async (t) => {
  t.equal(fileKey('pingIntervalMs'), 'ping_interval');
  t.equal(envName('pingIntervalMs'), 'KEYHOLE_PING_INTERVAL');
  t.equal(flagName('pingIntervalMs'), 'ping-interval');
});

t.test('a flag wins over the environment, that over the file, that over the default', async (t) => {
  const text = 'ping_interval = "1m"\nmax_payload_bytes = 2048\nclient_version = "1.2.900.0"\n';
  const env = { KEYHOLE_PING_INTERVAL: '30s', KEYHOLE_MAX_PAYLOAD_BYTES: '4096' };
  t.match(withFile(t, text, env, { 'ping-interval': '10s' }), {
    pingIntervalMs: 10_000,
    maxPayloadBytes: 4096,
    clientVersion: '1.2.900.0',
    resumeTimeoutMs: 1_200_000,
  });
  t.equal(withFile(t, text, { KEYHOLE_PING_INTERVAL: '' }).pingIntervalMs, 60_000, 'an empty variable says nothing');
});

t.test('times have units, and a bare number means seconds', async (t) => {
  for (const [text, ms] of [
    ['"500ms"', undefined],
    ['"1000ms"', 1000],
    ['2', 2000],
    ['2.5', 2500],
    ['"2m"', 120_000],
  ] as const) {
    if (ms === undefined) t.throws(() => withFile(t, `ping_interval = ${text}`), { code: 'bad-setting' });
    else t.equal(withFile(t, `ping_interval = ${text}`).pingIntervalMs, ms, text);
  }
  t.equal(showDuration(90_000), '90s');
  t.equal(showDuration(3_600_000), '1h');
});

t.test('lists are arrays in the file and separated by commas elsewhere', async (t) => {
  t.strictSame(withFile(t, 'stream_hosts = ["a.example", "*.B.example"]').streamHosts, ['a.example', '*.b.example']);
  t.strictSame(loadSettings({ ...none, env: { KEYHOLE_STREAM_HOSTS: 'a.example, b.example' } }).streamHosts, [
    'a.example',
    'b.example',
  ]);
  t.throws(() => loadSettings({ ...none, env: { KEYHOLE_STREAM_HOSTS: 'a.example/x' } }), { code: 'bad-setting' });
});

t.test('ranges include their ends and nothing beyond', async (t) => {
  for (const [bytes, good] of [
    [1023, false],
    [1024, true],
    [1_048_576, true],
    [1_048_577, false],
  ] as const) {
    const load = () => loadSettings({ ...none, env: { KEYHOLE_MAX_PAYLOAD_BYTES: String(bytes) } });
    if (good) t.equal(load().maxPayloadBytes, bytes);
    else t.throws(load, { code: 'bad-setting' }, String(bytes));
  }
});

t.test('a bad value is reported with its name, its place and what is allowed', async (t) => {
  const inEnv = t.throws(() => loadSettings({ ...none, env: { KEYHOLE_MAX_PAYLOAD_BYTES: '12' } })) as ConfigError;
  t.ok(inEnv instanceof ConfigError);
  t.match(inEnv, {
    exitStatus: 2,
    message: 'KEYHOLE_MAX_PAYLOAD_BYTES in the environment is "12"',
    hint: /1024 to 1048576/,
  });

  const inFile = t.throws(() =>
    withFile(t, '# mine\nmax_payload_bytes = 2048\n  ping_interval = true\n'),
  ) as ConfigError;
  t.match(inFile.message, /^ping_interval in \/.*config\.toml:3:3 is true$/);

  const inFlag = t.throws(() => loadSettings({ ...none, flags: { 'log-level': 'loud' } })) as UsageError;
  t.ok(inFlag instanceof UsageError);
  t.match(inFlag, { message: '--log-level is "loud"', hint: /error, info, debug/ });
});

t.test('a bad value is reported also where a better source hides it', async (t) => {
  t.throws(() => withFile(t, 'ping_interval = 0', { KEYHOLE_PING_INTERVAL: '30s' }), { code: 'bad-setting' });
});

t.test('an unknown key is an error that names the near miss', async (t) => {
  t.throws(() => withFile(t, '\nping_intervall = 3'), {
    code: 'unknown-setting',
    message: /config\.toml:2:1/,
    hint: 'did you mean ping_interval?',
  });
  t.throws(() => withFile(t, 'xyzzy = 3'), { code: 'unknown-setting', hint: /^settings are .*ping_interval/ });
  t.throws(() => withFile(t, '[hosts]\na = 1'), { code: 'unknown-setting', message: /"hosts" in .*:1:1/ });
});

const tables = `transport = "eice"
ping_interval = "1m"

[host."web-* !web-9"]
profile = "web"

[host."web-1"]
profile = "one"
transport = "ssm"

[host."*"]
profile = "all"
region = "eu-west-1"
`;

t.test('of the tables for a host, the first that has a setting gives it; then all hosts have it', async (t) => {
  const file = fileOf(t, tables);
  const load = (host?: string) => loadSettings({ env: {}, file, host });
  t.match(load('web-1'), { profile: 'web', transport: 'ssm', region: 'eu-west-1', pingIntervalMs: 60_000 });
  t.match(load('WEB-2'), { profile: 'web', transport: 'eice' }, 'in any case');
  t.match(load('web-9'), { profile: 'all', region: 'eu-west-1' }, 'a pattern with ! takes the host out');
  t.match(load(), { profile: undefined, region: undefined, transport: 'eice' }, 'without a host no table holds');
  const env = { KEYHOLE_PROFILE: 'env' };
  t.equal(loadSettings({ env, file, host: 'web-1' }).profile, 'env', 'the environment wins over a table');
});

t.test('the order of tables is that of the file, whatever they are called', async (t) => {
  const file = fileOf(t, '[host."1*"]\nuser = "first"\n[host.10]\nuser = "second"\n');
  t.equal(loadSettings({ env: {}, file, host: '10' }).user, 'first');
});

t.test('every value is told with where it comes from', async (t) => {
  const file = fileOf(t, tables);
  const env = { KEYHOLE_REGION: 'us-east-1' };
  const found = findSettings({ env, file, host: 'web-1', flags: { deadline: '5s' } });
  t.strictSame(found.profile, {
    value: 'web',
    origin: { from: 'file', file, line: 5, column: 1, host: 'web-* !web-9' },
  });
  t.strictSame(found.pingIntervalMs, { value: 60_000, origin: { from: 'file', file, line: 2, column: 1 } });
  t.strictSame(found.region, { value: 'us-east-1', origin: { from: 'environment', name: 'KEYHOLE_REGION' } });
  t.strictSame(found.deadlineMs, { value: 5_000, origin: { from: 'flag', name: '--deadline' } });
  t.strictSame(found.sshDocument, { value: 'AWS-StartSSHSession', origin: { from: 'default' } });
});

t.test('a mistake in a table is one for every host, and its place is told', async (t) => {
  for (const [text, code, message, hint] of [
    ['\n[host.db]\n  regoin = "x"', 'unknown-setting', /"regoin" in .*:3:3/, 'did you mean region?'],
    ['[host.db]\nport = 22\n[host."a*"]\nport = 0', 'bad-setting', /^port in .*:4:1 is 0$/, /1 to 65535/],
    ['[host]\ndb = { user = "-x" }', 'bad-setting', /^user in .*:2:8 is "-x"$/, /login name/],
    ['[host.db.agent]\nupstream = "/a"', 'misplaced-setting', /^agent\.upstream in .*:2:1 /, /above the first table/],
    ['[host.db]\nidle_timeout = 9', 'misplaced-setting', /^idle_timeout in .*:2:1 /, /above the first table/],
    ['profile = "x"', 'misplaced-setting', /^profile in .*:1:1 /, /\[host\."\*"\]/],
    ['host = 5', 'bad-setting', /^host in .*:1:1 is 5$/, /\[host\./],
    ['[host]\ndb = "i-0123456789abcdef0"', 'bad-setting', /^host\."db" in .*:2:1 is "i-/, /\[host\./],
    ['[[host]]\nmatch = "x"', 'bad-setting', /^host in .*:1:1 is /, /\[host\./],
    ['[hosts.db]\n', 'unknown-setting', /"hosts" in .*:1:1/, 'did you mean host?'],
  ] as const) {
    t.throws(() => withFile(t, text), { code, message, hint, exitStatus: 2 }, text);
  }
});

t.test('aliases are the names that have a target and no wildcard', async (t) => {
  const target = 'target = "i-0123456789abcdef0"';
  const file = fileOf(t, `[host."db  backup !x"]\n${target}\n[host."y-*"]\n${target}\n[host.z]\nuser = "a"\n`);
  t.strictSame(aliases(file), ['db', 'backup']);
});

t.test('a file that is not TOML is reported with line and column', async (t) => {
  t.throws(() => withFile(t, 'ping_interval = 25\nlog_level =\n'), {
    code: 'bad-config-file',
    message: /config\.toml:2:\d+ is not TOML: /,
  });
});

t.test('a file that is missing says nothing, one that cannot be read is an error', async (t) => {
  const dir = t.testdir({ sub: {} });
  t.same(loadSettings({ env: {}, file: join(dir, 'none.toml') }), loadSettings(none));
  t.throws(() => loadSettings({ env: {}, file: join(dir, 'sub') }), { code: 'bad-config-file', message: /EISDIR/ });
});
