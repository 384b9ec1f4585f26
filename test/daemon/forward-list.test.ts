import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { ForwardRequest } from '../../src/control/message.ts';
import { ForwardList } from '../../src/daemon/forward-list.ts';

function wish(name: string, env: Record<string, string>): ForwardRequest {
  return {
    name,
    host: 'web-1.ec2',
    forwardings: ['5432'],
    expose: false,
    detached: true,
    flags: {},
    caller: { env, cwd: '/', pid: 1, parentPid: 1 },
  };
}

const file = (t: Test) => join(t.testdir({}), 'state', 'forwards.json');

t.test('what is up is known to the next daemon, until it is taken down', async (t) => {
  const path = file(t);
  const list = new ForwardList(path);
  const env = { HOME: '/home/u', AWS_PROFILE: 'prod', KEYHOLE_TRANSPORT: 'ssm', XDG_CONFIG_HOME: '/c', SHLVL: '1' };
  t.ok(list.put(wish('db', env)));
  t.ok(list.put(wish('web', env)));
  t.ok(list.put(wish('db', env)), 'once');
  const { SHLVL: _, ...kept } = env;
  t.strictSame(new ForwardList(path).entries(), [wish('web', kept), wish('db', kept)]);
  t.equal(statSync(path).mode & 0o777, 0o600);
  list.remove('web');
  t.same(
    new ForwardList(path).entries().map(({ name }) => name),
    ['db'],
  );
  list.clear();
  t.notOk(existsSync(path));
  t.same(new ForwardList(path).entries(), []);
});

t.test('a tunnel that needs a secret of its caller is not kept', async (t) => {
  const path = file(t);
  const secret = { HOME: '/home/u', AWS_ACCESS_KEY_ID: 'AKIA', AWS_SECRET_ACCESS_KEY: 'secret' };
  t.notOk(new ForwardList(path).put(wish('db', secret)));
  t.notOk(existsSync(path));
});

t.test('a file that can not be read is as none, and no place to write to is no error', async (t) => {
  const path = join(t.testdir({ 'forwards.json': '[{"host": 5}]', plain: '' }), 'forwards.json');
  t.same(new ForwardList(path).entries(), []);
  writeFileSync(path, 'x');
  t.same(new ForwardList(path).entries(), []);
  t.ok(new ForwardList(join(path, 'below-a-file')).put(wish('db', {})));
  t.equal(readFileSync(path, 'utf8'), 'x');
  t.ok(new ForwardList(undefined).put(wish('db', {})));
});
