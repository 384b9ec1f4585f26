// Our agent under the real tools: ssh, sshd, ssh-add, ssh-keygen, with the real ssh-agent as the caller's own.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type EphemeralKey, Keyring } from '../../src/agent/keyring.ts';
import { AgentListener, type AgentPolicy } from '../../src/agent/server.ts';
import { systemClock } from '../../src/clock.ts';
import { silent } from '../../src/log.ts';
import { Place, withoutOpenssh } from './openssh.ts';

const options = { skip: withoutOpenssh };

/** A place with an sshd that lets our key in, our agent, and the real one behind it where that is asked for. */
async function start(
  t: Test,
  { behind = true, policy = {} }: { behind?: boolean; policy?: Partial<AgentPolicy> } = {},
) {
  const place = new Place();
  t.teardown(() => place.remove());
  const keyring = new Keyring({ clock: systemClock, lifetimeMs: 3_600_000 });
  const upstream = behind ? await place.startAgent() : undefined;
  await mkdir(place.path('run'), { mode: 0o700 });
  const whole: AgentPolicy = { key: async () => keyring.current(), allowUnbound: false, upstream, ...policy };
  const listen = async (name: string, change: Partial<AgentPolicy> = {}) => {
    const base = { keyring, ownFolders: [place.path('run')], clock: systemClock, log: silent };
    const path = join(place.path('run'), name);
    const listener = await AgentListener.open({ ...base, path, policy: { ...whole, ...change } });
    t.teardown(() => listener.close());
    return path;
  };
  place.keygen('host', '-t', 'ed25519');
  place.authorize([keyring.current().publicLine]);
  return {
    place,
    keyring,
    upstream: upstream ?? '',
    target: await listen('root@i-0123456789abcdef0:22'),
    general: await listen('agent.sock', { allowUnbound: true }),
    listen,
  };
}

const loggedIn = { status: 0, stdout: 'in\n', stderr: '' };
const refused = { status: 255, stdout: '', stderr: /Permission denied \(publickey\)/ };

t.test('ssh logs in by the ephemeral key alone', options, async (t) => {
  const { place, target, general } = await start(t, { behind: false });
  t.match(await place.ssh({ agent: target }), loggedIn);
  t.match(await place.ssh({ agent: general }), loggedIn);
});

// Verifying what they sign is tested with recorded messages (bindings.test.ts).
t.test('ssh logs in to hosts with another kind of key, and with a certificate', options, async (t) => {
  const { place, keyring, target } = await start(t, { behind: false });
  place.keygen('rsa', '-t', 'rsa', '-b', '2048');
  t.match(await place.ssh({ agent: target, hostKey: 'rsa' }), loggedIn);
  place.keygen('ca', '-t', 'ed25519');
  writeFileSync(place.path('known_hosts'), `@cert-authority * ${place.publicLine('ca')}\n`);
  execFileSync('ssh-keygen', ['-q', '-s', place.path('ca'), '-h', '-I', 'host', place.path('rsa.pub')]);
  place.authorize([keyring.current().publicLine], [`HostCertificate ${place.path('rsa-cert.pub')}`]);
  const args = ['-o', `UserKnownHostsFile=${place.path('known_hosts')}`, '-o', 'StrictHostKeyChecking=yes'];
  t.match(await place.ssh({ agent: target, hostKey: 'rsa', args }), loggedIn);
});

t.test('over a forwarded agent the far side sees the keys of the caller and not ours', options, async (t) => {
  const { place, keyring, upstream, target, general } = await start(t);
  const user = place.keygen('user', '-t', 'ed25519');
  t.match(await place.run('ssh-add', [place.path('user')], { agent: upstream }), { status: 0 });
  for (const agent of [target, general]) {
    const outcome = await place.ssh({ agent, args: ['-A'], command: 'ssh-add -L' });
    t.match(outcome, { status: 0, stdout: `${user}\n` });
  }
  // And it can't be used there by somebody who knows it: a second login from the far side.
  const sshd = `/usr/sbin/sshd -i -f ${place.path('sshd_config')} -h ${place.path('host')}`;
  const hop = `ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o 'ProxyCommand=${sshd}' far-side echo in`;
  t.match(await place.ssh({ agent: target, args: ['-A'], command: hop }), refused);
  place.authorize([keyring.current().publicLine, user]);
  t.match(await place.ssh({ agent: target, args: ['-A'], command: hop }), loggedIn, "the caller's key goes on");
});

t.test('ssh waits for the push and goes on the moment it is confirmed', options, async (t) => {
  const { place, keyring, listen } = await start(t, { behind: false });
  let confirm: (key: EphemeralKey) => void = () => {};
  let asked = () => {};
  const waiting = new Promise<void>((resolve) => {
    asked = resolve;
  });
  const key = () =>
    new Promise<EphemeralKey>((resolve) => {
      confirm = resolve;
      asked();
    });
  const agent = await listen('waiting', { key });
  // Nobody is let in until the push, which is what happens at a real instance.
  place.authorize([]);
  const login = place.ssh({ agent });
  await waiting;
  place.authorize([keyring.current().publicLine]);
  confirm(keyring.current());
  t.match(await login, loggedIn);
});

t.test('our key logs in only to the host that the daemon names for the socket', options, async (t) => {
  const { place, listen } = await start(t, { behind: false });
  place.keygen('impostor', '-t', 'ed25519');
  const blob = Buffer.from(place.publicLine('host').split(' ')[1]!, 'base64');
  const agent = await listen('named', { accepts: ({ hostKey, verified }) => verified && hostKey.equals(blob) });
  t.match(await place.ssh({ agent }), loggedIn);
  t.match(await place.ssh({ agent, hostKey: 'impostor' }), refused);
});

t.test('a push that was refused leaves the login to the keys of the caller', options, async (t) => {
  const { place, keyring, upstream, listen } = await start(t);
  const agent = await listen('refused', { key: () => Promise.reject(new Error('AccessDenied')) });
  t.match(await place.ssh({ agent }), refused);
  const user = place.keygen('user', '-t', 'ed25519');
  t.match(await place.run('ssh-add', [place.path('user')], { agent: upstream }), { status: 0 });
  place.authorize([keyring.current().publicLine, user]);
  t.match(await place.ssh({ agent }), loggedIn);
});

t.test('an ssh that is killed while it waits leaves nothing behind', options, async (t) => {
  const { place, listen } = await start(t);
  const killed = new AbortController();
  let heard = () => {};
  const aborted = new Promise<void>((resolve) => {
    heard = resolve;
  });
  const agent = await listen('waiting', {
    key: (signal) => {
      signal.addEventListener('abort', heard);
      killed.abort();
      return new Promise(() => {});
    },
  });
  t.match(await place.ssh({ agent, signal: killed.signal }), { status: -1 });
  await aborted;
});

t.test('ssh-add adds, lists and removes keys of the agent behind, and none of ours', options, async (t) => {
  const { place, keyring, upstream, general: agent } = await start(t);
  const user = place.keygen('user', '-t', 'ed25519');
  const ours = keyring.current().publicLine;
  const list = async (at: string) => (await place.run('ssh-add', ['-L'], { agent: at })).stdout;
  t.match(await place.run('ssh-add', ['-l'], { agent }), {
    status: 0,
    stdout: /^256 SHA256:\S+ keyhole \(ED25519\)\n$/,
  });
  t.match(await place.run('ssh-add', ['-q', place.path('user')], { agent }), { status: 0 });
  t.equal(await list(upstream), `${user}\n`);
  t.equal(await list(agent), `${ours}\n${user}\n`);
  writeFileSync(place.path('ours.pub'), `${ours}\n`);
  t.match(await place.run('ssh-add', ['-d', place.path('ours.pub')], { agent }), { status: 1 });
  t.match(await place.run('ssh-add', ['-D'], { agent }), { status: 0 });
  t.equal(await list(upstream), 'The agent has no identities.\n');
  t.equal(await list(agent), `${ours}\n`);
});

t.test('without an agent behind, ssh-add is told so and our key stays', options, async (t) => {
  const { place, keyring, general: agent } = await start(t, { behind: false });
  place.keygen('user', '-t', 'ed25519');
  t.match(await place.run('ssh-add', [place.path('user')], { agent }), {
    status: 1,
    stderr: /agent refused operation/,
  });
  t.match(await place.run('ssh-add', ['-D'], { agent }), { status: 1 });
  t.equal((await place.run('ssh-add', ['-L'], { agent })).stdout, `${keyring.current().publicLine}\n`);
});

t.test('a socket of a target shows our key to nobody who did not bind the connection', options, async (t) => {
  const { place, target: agent } = await start(t, { behind: false });
  t.match(await place.run('ssh-add', ['-L'], { agent }), { status: 1, stdout: 'The agent has no identities.\n' });
});

t.test('ssh-keygen signs files by keys of the agent behind, and cannot by ours', options, async (t) => {
  const { place, keyring, upstream, general: agent } = await start(t);
  place.keygen('user', '-t', 'ed25519');
  await place.run('ssh-add', [place.path('user')], { agent: upstream });
  writeFileSync(place.path('ours.pub'), `${keyring.current().publicLine}\n`);
  writeFileSync(place.path('file'), 'text\n');
  const sign = (key: string) =>
    place.run('ssh-keygen', ['-Y', 'sign', '-n', 'file', '-f', place.path(key), place.path('file')], { agent });
  t.match(await sign('user.pub'), { status: 0 });
  t.match(readFileSync(place.path('file.sig'), 'utf8'), /BEGIN SSH SIGNATURE/);
  t.match(await sign('ours.pub'), { status: 255, stderr: /agent refused operation/ });
});

t.test(
  'RSA keys with either SHA-2, certificates and other keys of the caller log in through us',
  options,
  async (t) => {
    const { place, upstream, target: agent } = await start(t);
    place.keygen('ca', '-t', 'ed25519');
    const keys: [string, string[], string[]][] = [
      ['rsa', ['-t', 'rsa', '-b', '2048'], ['rsa-sha2-256']],
      ['rsa-512', ['-t', 'rsa', '-b', '2048'], ['rsa-sha2-512']],
      ['ecdsa', ['-t', 'ecdsa'], []],
    ];
    for (const [name, type, algorithms] of keys) {
      const args = algorithms.flatMap((algorithm) => ['-o', `PubkeyAcceptedAlgorithms=${algorithm}`]);
      const line = place.keygen(name, ...type);
      await place.run('ssh-add', [place.path(name)], { agent: upstream });
      place.authorize([line]);
      t.match(await place.ssh({ agent, args }), loggedIn, name);
      await place.run('ssh-add', ['-D'], { agent: upstream });
    }
    place.keygen('certified', '-t', 'rsa', '-b', '2048');
    const certify = ['-q', '-s', place.path('ca'), '-I', 'user', '-n', 'root,nobody', place.path('certified.pub')];
    execFileSync('ssh-keygen', certify);
    await place.run('ssh-add', [place.path('certified')], { agent: upstream });
    place.authorize([`cert-authority ${place.publicLine('ca')}`]);
    t.match(await place.ssh({ agent }), loggedIn, 'certificate');
  },
);

t.test('destination constraints of the agent behind are kept by it, since it sees our bindings', options, async (t) => {
  const { place, upstream, target: agent } = await start(t);
  const user = place.keygen('user', '-t', 'ed25519');
  place.authorize([user]);
  const known = (name: string, key: string) =>
    writeFileSync(place.path(name), `i-0123456789abcdef0 ${place.publicLine(key)}\n`);
  place.keygen('other', '-t', 'ed25519');
  known('right', 'host');
  known('wrong', 'other');
  for (const [name, expected] of [
    ['right', loggedIn],
    ['wrong', refused],
  ] as const) {
    const add = ['-q', '-H', place.path(name), '-h', 'i-0123456789abcdef0', place.path('user')];
    t.match(await place.run('ssh-add', add, { agent: upstream }), { status: 0 });
    t.match(await place.ssh({ agent }), expected, name);
    await place.run('ssh-add', ['-D'], { agent: upstream });
  }
});

t.test('no file has a private key of ours', options, async (t) => {
  const { place, target } = await start(t, { behind: false });
  t.match(await place.ssh({ agent: target }), loggedIn);
  const files = readdirSync(place.folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const secret = files.filter((file) => /PRIVATE KEY/.test(readFileSync(join(file.parentPath, file.name), 'latin1')));
  t.strictSame(
    secret.map(({ name }) => name),
    ['host'],
    "the server's own key and no other",
  );
});
