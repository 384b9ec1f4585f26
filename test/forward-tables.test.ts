// The configuration file's tables of local tunnels.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { readConfigFile } from '../src/config-file.ts';

function read(t: Test, text: string) {
  const file = join(t.testdir({}), 'config.toml');
  writeFileSync(file, text);
  return readConfigFile(file);
}

t.test('a table has a host, one or more ports, and perhaps that it may be exposed', async (t) => {
  const { forwards } = read(
    t,
    `[forward.db]
host = "web-1.ec2"
ports = "5432:db.internal:5432"
[forward.some-web_2]
host = "i-0123456789abcdef0"
ports = [8080, "/run/me/x.sock:80"]
expose = true
`,
  );
  t.strictSame(forwards, {
    db: { host: 'web-1.ec2', ports: ['5432:db.internal:5432'], expose: false },
    'some-web_2': { host: 'i-0123456789abcdef0', ports: ['8080', '/run/me/x.sock:80'], expose: true },
  });
});

t.test('what is not in order is said with its place', async (t) => {
  for (const [text, code, message] of [
    ['forward = 5', 'bad-setting', /^forward in .*config\.toml:1:1 is 5$/],
    ['[forward]\ndb = 5', 'bad-setting', /forward\.db in .*:2:1 is 5/],
    ['[forward.db]\nports = 80', 'bad-setting', /forward\.db\.host in .*:1:1 is missing/],
    ['[forward.db]\nhost = "a"', 'bad-setting', /forward\.db\.ports in .*:1:1 is missing/],
    ['[forward.db]\nhost = "a"\nports = []', 'bad-setting', /ports in .*:3:1 is \[\]/],
    ['[forward.db]\nhost = "a"\nports = [true]', 'bad-setting', /ports in .*:3:1/],
    ['[forward.db]\nhost = "a"\nports = 1\nexpose = "yes"', 'bad-setting', /expose in .*:4:1 is "yes"/],
    ['[forward.db]\nhost = "a"\nports = 1\nuser = "me"', 'unknown-setting', /"user" in .*:4:1 is not of a tunnel/],
    ['[forward."-x"]\nhost = "a"\nports = 1', 'bad-setting', /"-x"/],
  ] as const) {
    t.throws(() => read(t, text), { code, message }, text);
  }
});
