import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { findUpstream, type UpstreamSources } from '../../src/agent/upstream.ts';
import { upstreamSources } from '../../src/agent/upstream-sources.ts';

interface Case {
  what: string;
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
  { what: 'the setting is ourselves', setting: own, found: undefined },
];

t.test('the agent of the caller is found', async (t) => {
  for (const { what, helper, ssh, launchd, setting, found } of cases) {
    const sources: UpstreamSources = {
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

t.test('the environment with which ssh was started is read', { skip: process.platform !== 'linux' }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'kh-upstream-')); // a testdir's name is too long for a socket
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'agent');
  const server = createServer().listen(path);
  t.teardown(() => server.close());
  const ssh = spawn('sleep', ['60'], { env: { SSH_AUTH_SOCK: path }, stdio: 'ignore' });
  t.teardown(() => ssh.kill());
  await new Promise((resolve) => ssh.once('spawn', resolve));
  const search = { env: { SSH_AUTH_SOCK: '/nowhere' }, sshPid: ssh.pid!, setting: undefined };
  t.equal(await findUpstream(upstreamSources({ ...search, ownFolders: [] })), path);
  t.equal(await findUpstream(upstreamSources({ ...search, ownFolders: [folder] })), undefined);
  t.equal(await findUpstream(upstreamSources({ ...search, sshPid: 2 ** 30, ownFolders: [] })), undefined);
});
