import t from 'tap';
import { findUpstream, type UpstreamSources } from '../../src/agent/upstream.ts';

interface Case {
  what: string;
  named?: string;
  helper?: string;
  ssh?: string;
  launchd?: string;
  setting?: string;
  found: string | undefined;
}

const own = '/home/u/.ssh/keyhole/agent/u@i-1:22';

const cases: Case[] = [
  { what: 'ssh 10.4 and older: the helper has it', helper: '/run/a', ssh: '/run/a', found: '/run/a' },
  { what: 'ssh 10.5 hides it behind IdentityAgent', helper: own, ssh: '/run/a', found: '/run/a' },
  { what: 'ssh itself was started with our general socket', helper: own, ssh: own, found: undefined },
  { what: 'then the setting', helper: own, ssh: own, setting: '/run/s', found: '/run/s' },
  { what: 'no agent at all', found: undefined },
  { what: 'only a setting', setting: '/run/s', found: '/run/s' },
  {
    what: 'macOS, where /proc is missing',
    helper: own,
    launchd: '/private/l\n',
    setting: '/run/s',
    found: '/private/l',
  },
  { what: 'launchd knows of none', helper: own, launchd: '\n', setting: '/run/s', found: '/run/s' },
  { what: 'an agent that died', helper: '/run/gone', setting: '/run/s', found: '/run/s' },
  { what: 'a relative path', helper: 'a', ssh: 'a', found: undefined },
  { what: 'an empty variable', helper: '', ssh: '', setting: '/run/s', found: '/run/s' },
  { what: 'one that is named for this connection', named: '/run/n', helper: '/run/a', found: '/run/n' },
  { what: 'one that is named and died', named: '/run/gone', helper: '/run/a', found: '/run/a' },
  { what: 'the setting is ourselves', setting: own, found: undefined },
];

t.test('the agent of the caller is found', async (t) => {
  for (const { what, named, helper, ssh, launchd, setting, found } of cases) {
    const sources: UpstreamSources = {
      named,
      helper,
      readSshEnvironment: async () =>
        ssh === undefined ? undefined : Buffer.from(`A=1\0XSSH_AUTH_SOCK=/no\0SSH_AUTH_SOCK=${ssh}\0B=2\0`),
      readLaunchd: async () => launchd,
      setting,
      look: async (path) => (path === own ? 'ours' : path.endsWith('gone') ? 'none' : 'other'),
    };
    t.equal(await findUpstream(sources), found, what);
  }
});

t.test('nothing further is read once it is found', async (t) => {
  const sources: UpstreamSources = {
    helper: '/run/a',
    readSshEnvironment: () => Promise.reject(new Error('read')),
    readLaunchd: () => Promise.reject(new Error('read')),
    setting: undefined,
    look: async () => 'other',
  };
  t.equal(await findUpstream(sources), '/run/a');
});
