import t from 'tap';
import { daemonEnvironment } from '../../src/helper/spawn-daemon.ts';

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
