import { join } from 'node:path';
import t, { type Test } from 'tap';
import { readCall } from '../../src/target/call.ts';

const id = 'i-0123456789abcdef0';

function calling(t: Test, text: string) {
  const file = join(t.testdir({ 'config.toml': text }), 'config.toml');
  return (host: string, port = '22', user?: string, flags: Record<string, string> = {}) =>
    readCall({ host, port, user }, { env: {}, flags, file });
}

t.test('without a table, host, port and user mean what they say', async (t) => {
  const call = calling(t, '');
  t.match(call(`${id}.eu-west-1.prod`, '2222', 'alice'), {
    host: { name: `${id}.eu-west-1.prod`, instanceId: id, region: 'eu-west-1', profile: 'prod' },
    port: 2222,
    namedPort: 2222,
    user: 'alice',
  });
  t.match(call(id), { host: { region: undefined, profile: undefined }, user: undefined });
});

t.test('a table gives what the name does not say', async (t) => {
  const call = calling(t, `[host."${id}*"]\nprofile = "prod"\nregion = "eu-west-1"\nuser = "root"\nport = 2022\n`);
  t.match(call(id), { host: { region: 'eu-west-1', profile: 'prod' }, user: 'root', port: 2022, namedPort: 22 });
  t.match(call(`${id}.us-east-1.dev`, '2222', 'alice'), {
    host: { region: 'us-east-1', profile: 'dev' },
    user: 'alice',
    port: 2222,
  });
  t.match(call(`${id}.dev`), { host: { region: 'eu-west-1', profile: 'dev' } });
  t.match(call('i-89abcdef'), { host: { region: undefined }, user: undefined, port: 22 });
});

t.test('an alias is another name for a host, with settings of its own', async (t) => {
  const call = calling(t, `[host.db]\ntarget = "${id}.eu-west-1"\nprofile = "prod"\n[host."i-*"]\nuser = "root"\n`);
  t.match(call('db'), {
    host: { name: 'db', instanceId: id, region: 'eu-west-1', profile: 'prod' },
    user: undefined,
  });
  t.match(call('DB').host, { instanceId: id }, 'ssh may change the case');
  t.match(calling(t, '[host.w]\ntarget = "web-1.eu-west-1.prod.ec2"\n')('w').host, {
    name: 'w',
    nameTag: 'web-1',
    region: 'eu-west-1',
    profile: 'prod',
  });
});

t.test('a name that nobody knows is refused, with the one that may be meant', async (t) => {
  const call = calling(t, `[host.database]\ntarget = "${id}"\n`);
  t.throws(() => call('databas'), { code: 'bad-host', exitStatus: 2, hint: /^did you mean database, which .*config/ });
  t.throws(() => call('example.com'), { code: 'bad-host', hint: /\.REGION and \.PROFILE/ });
});

t.test('a target is in the grammar', async (t) => {
  for (const target of ['db', 'i-012345678', `${id}.`, `${id} x`, 'i-0123456789abcdef0.a;id']) {
    t.throws(
      () => calling(t, `[host.db]\ntarget = ${JSON.stringify(target)}\n`)('db'),
      { code: /^bad-/, exitStatus: 2 },
      target,
    );
  }
});
