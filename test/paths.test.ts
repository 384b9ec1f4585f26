import { userInfo } from 'node:os';
import t from 'tap';
import { findPaths } from '../src/paths.ts';

t.test('files are under the home unless a variable says otherwise', async (t) => {
  t.strictSame(findPaths({ HOME: '/home/u' }), {
    configFile: '/home/u/.config/keyhole/config.toml',
    stateDir: '/home/u/.local/state/keyhole',
    payloadMemoryFile: '/home/u/.local/state/keyhole/payload-sizes.json',
    forwardsFile: '/home/u/.local/state/keyhole/forwards.json',
    compileCacheDir: '/home/u/.cache/keyhole/compiled',
    sshDir: '/home/u/.ssh/keyhole',
    knownHostsFile: '/home/u/.ssh/keyhole/known_hosts',
  });
  const env = {
    HOME: '/home/u',
    XDG_CONFIG_HOME: '/c',
    XDG_STATE_HOME: '/s',
    XDG_CACHE_HOME: '/k',
    KEYHOLE_RUNTIME_DIR: '/r',
  };
  t.strictSame(findPaths(env), {
    configFile: '/c/keyhole/config.toml',
    stateDir: '/s/keyhole',
    payloadMemoryFile: '/s/keyhole/payload-sizes.json',
    forwardsFile: '/s/keyhole/forwards.json',
    compileCacheDir: '/k/keyhole/compiled',
    sshDir: '/r',
    knownHostsFile: '/r/known_hosts',
  });
});

t.test('relative paths in variables are ignored', async (t) => {
  t.match(findPaths({ HOME: '/home/u', XDG_CONFIG_HOME: 'c', KEYHOLE_RUNTIME_DIR: 'r' }), {
    configFile: '/home/u/.config/keyhole/config.toml',
    sshDir: '/home/u/.ssh/keyhole',
  });
});

t.test('without HOME the passwd entry counts, and an empty HOME means that there is none', async (t) => {
  t.equal(findPaths({}).sshDir, `${userInfo().homedir.replace(/\/$/, '')}/.ssh/keyhole`);
  t.strictSame(findPaths({ HOME: '' }), {
    configFile: undefined,
    stateDir: undefined,
    payloadMemoryFile: undefined,
    forwardsFile: undefined,
    compileCacheDir: undefined,
    sshDir: undefined,
    knownHostsFile: undefined,
  });
  t.equal(findPaths({ HOME: '', XDG_CONFIG_HOME: '/c' }).configFile, '/c/keyhole/config.toml');
});
