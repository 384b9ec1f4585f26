import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { daemonEnvironment, spawnDaemon } from '../../src/helper/spawn-daemon.ts';
import { daemonAllocation } from '../../src/own-process.ts';

t.test('the daemon inherits where things are, and settings; nothing of AWS, no secret, no way into Node', async (t) => {
  const kept = {
    HOME: '/home/u',
    PATH: '/bin',
    LC_ALL: 'C',
    XDG_RUNTIME_DIR: '/run/user/1',
    KEYHOLE_IDLE_TIMEOUT: '1m',
  };
  const dropped = {
    AWS_PROFILE: 'prod',
    // Each caller's own are in its settings (aws/resolution.ts).
    NODE_EXTRA_CA_CERTS: '/etc/ca.pem',
    AWS_SECRET_ACCESS_KEY: 'x',
    NODE_OPTIONS: '--require x',
    NODE_CHANNEL_FD: '1',
    SSH_AUTH_SOCK: '/tmp/agent',
    GITHUB_TOKEN: 'x',
    HTTPS_PROXY: 'http://u:p@proxy',
    LD_PRELOAD: 'x.so',
    keyhole_x: 'x',
  };
  t.strictSame(daemonEnvironment({ ...kept, ...dropped }), kept);
});

/** What stands for the daemon, and a systemd-run that notes how it was called and then does `then`. */
function setUp(t: Test, then: string) {
  const folder = t.testdir({
    'probe.cjs': `require('node:fs').writeFileSync(process.env.HOME + '/daemon', JSON.stringify({
      args: process.argv.slice(2), session: require('node:fs').readFileSync('/proc/self/stat', 'utf8').split(') ')[1].split(' ')[3],
      pid: String(process.pid), env: Object.keys(process.env) }))`,
  });
  const script = `#!/bin/sh\nprintf '%s\\n' "$@" >"$HOME/called"\n${then}\n`;
  writeFileSync(join(folder, 'systemd-run'), script, { mode: 0o755 });
  const main = process.argv[1]!;
  process.argv[1] = join(folder, 'probe.cjs');
  t.teardown(() => {
    process.argv[1] = main;
  });
  const env = { PATH: `${folder}:${process.env.PATH}`, HOME: folder, AWS_PROFILE: 'prod' };
  const daemon = async () => {
    const file = join(folder, 'daemon');
    while (!existsSync(file) || readFileSync(file).length === 0) await new Promise((done) => setTimeout(done, 10));
    return JSON.parse(readFileSync(file, 'utf8'));
  };
  return { env, daemon, called: () => readFileSync(join(folder, 'called'), 'utf8').trimEnd().split('\n') };
}

t.test('where there is a user manager, the daemon starts in a scope of its own', async (t) => {
  const { env, daemon, called } = setUp(t, 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"');
  const state = spawnDaemon(env, true);
  const { args, env: names } = await daemon();
  t.strictSame(args, ['daemon', 'run']);
  t.notOk(names.includes('AWS_PROFILE'));
  for (const name of Object.keys(daemonAllocation)) t.ok(names.includes(name), name);
  t.strictSame(called().slice(0, 5), ['--user', '--scope', '--quiet', '--collect', '--']);
  t.strictSame(called().slice(-2), ['daemon', 'run']);
  t.notOk(state.failed);
});

t.test('where systemd-run fails, or is not there, it starts in a session of its own', async (t) => {
  const { env, daemon, called } = setUp(t, 'exit 1');
  spawnDaemon(env, true);
  const { args, pid, session } = await daemon();
  t.strictSame(args, ['daemon', 'run']);
  t.equal(session, pid);
  t.equal(called()[0], '--user', 'after it was tried');
  const without = setUp(t, '');
  spawnDaemon({ ...without.env, PATH: '/nonexistent' }, true);
  t.strictSame((await without.daemon()).args, ['daemon', 'run']);
});
