// From SendSSHPublicKey, called with AWS's SDK, to a login with OpenSSH's ssh: whom the instances' sshd admits, and
// for how long. The connection goes straight to sshd; the tunnel has its own tests.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EC2InstanceConnectClient, SendSSHPublicKeyCommand } from '@aws-sdk/client-ec2-instance-connect';
import t, { type Test } from 'tap';
import { ManualClock } from '../../manual-clock.ts';
import { clientConfig, until } from '../fixture.ts';
import { type Region, startRegion } from '../region.ts';
import { opensshPath } from './openssh.ts';
import { type Sshd, startSshd } from './sshd.ts';

const instanceId = 'i-0123456789abcdef0';
const otherId = 'i-0fedcba9876543210';

interface Bench {
  clock: ManualClock;
  region: Region;
  sshd: Sshd;
  /** Makes a key pair; the public line. */
  newKey(type?: string): { file: string; publicKey: string };
  push(publicKey: string, given?: { instance?: string; user?: string }): Promise<boolean | undefined>;
  /** Whether ssh gets in. */
  login(file: string, instance?: string): Promise<boolean>;
}

async function open(t: Test, kind: Sshd['kind'], nodes: { installed: boolean } = { installed: true }): Promise<Bench> {
  const clock = new ManualClock();
  const folder = t.testdir();
  const sshd = await startSshd({ kind, instances: [instanceId, otherId] });
  t.teardown(() => sshd.stop());
  const ids = [instanceId, otherId].map((id) => sshd.node(id));
  const region = await startRegion({
    clock,
    nodes: nodes.installed ? ids : ids.map(({ instanceId, ports }) => ({ instanceId, ports })),
    quotas: { SendSSHPublicKey: 1000 },
  });
  t.teardown(() => region.stop());
  const client = new EC2InstanceConnectClient({
    ...clientConfig(region),
    systemClockOffset: clock.wallTime() - Date.now(),
  });
  t.teardown(() => client.destroy());
  writeFileSync(join(folder, 'known_hosts'), sshd.hostKeys.map((hostKey) => `the-host ${hostKey}\n`).join(''));
  const port = (id: string) => sshd.node(id).ports[22]!.port;
  let keys = 0;
  return {
    clock,
    region,
    sshd,
    newKey(type = 'ed25519') {
      const file = join(folder, `key-${++keys}`);
      execFileSync('ssh-keygen', ['-q', '-t', type, '-N', '', '-C', 'pushed', '-f', file]);
      return { file, publicKey: readFileSync(`${file}.pub`, 'utf8') };
    },
    async push(publicKey, { instance = instanceId, user = sshd.user } = {}) {
      const input = { InstanceId: instance, InstanceOSUser: user, SSHPublicKey: publicKey };
      return (await client.send(new SendSSHPublicKeyCommand(input))).Success;
    },
    async login(file, instance = instanceId) {
      const settings = [
        'BatchMode=yes',
        'HostKeyAlias=the-host',
        'StrictHostKeyChecking=yes',
        `UserKnownHostsFile=${join(folder, 'known_hosts')}`,
        'GlobalKnownHostsFile=/dev/null',
        'IdentityAgent=none',
        'IdentitiesOnly=yes',
        `IdentityFile=${file}`,
        `Port=${port(instance)}`,
        `User=${sshd.user}`,
      ];
      const args = ['-F', '/dev/null', ...settings.flatMap((setting) => ['-o', setting]), '127.0.0.1', 'echo inside'];
      const child = spawn('ssh', args, { stdio: ['ignore', 'pipe', 'pipe'] });
      let [stdout, stderr] = ['', ''];
      child.stdout.on('data', (chunk) => {
        stdout += chunk;
      });
      child.stderr.on('data', (chunk) => {
        stderr += chunk;
      });
      await once(child, 'close');
      if (stdout === 'inside\n') return true;
      if (stderr.includes('Permission denied (publickey)')) return false;
      throw new Error(`ssh: ${stderr}`);
    },
  };
}

for (const kind of ['openssh', 'ssh2'] as const) {
  t.test(kind, { skip: kind === 'openssh' && !existsSync(opensshPath) && 'no sshd installed' }, async (t) => {
    t.test('a key logs in for the minute after it was pushed, and pushed again for one more', async (t) => {
      const { clock, newKey, push, login } = await open(t, kind);
      const { file, publicKey } = newKey();
      t.notOk(await login(file), 'not before');
      t.ok(await push(publicKey));
      t.ok(await login(file));
      await clock.advance(59_999);
      t.ok(await login(file));
      await clock.advance(1);
      t.notOk(await login(file), 'not after');
      await push(publicKey);
      await clock.advance(40_000);
      await push(publicKey);
      await clock.advance(59_999);
      t.ok(await login(file), 'the later push counts');
      await clock.advance(1);
      t.notOk(await login(file));
    });

    t.test('a key is good for the user and the instance it was pushed for, beside others', async (t) => {
      const { newKey, push, login } = await open(t, kind);
      const [one, two] = [newKey(), newKey('rsa')];
      await push(one.publicKey, { user: 'somebody-else' });
      t.notOk(await login(one.file));
      await push(one.publicKey);
      await push(two.publicKey);
      t.ok(await login(one.file));
      t.ok(await login(two.file));
      t.notOk(await login(one.file, otherId));
      await push(two.publicKey, { instance: otherId });
      t.ok(await login(two.file, otherId));
      t.notOk(await login(one.file, otherId));
    });

    t.test('an ECDSA key is taken by the API and not honoured', async (t) => {
      const { newKey, push, login } = await open(t, kind);
      const { file, publicKey } = newKey('ecdsa');
      t.ok(await push(publicKey));
      t.notOk(await login(file));
    });

    t.test('an instance without EC2 Instance Connect honours no pushed key', async (t) => {
      const { newKey, push, login } = await open(t, kind, { installed: false });
      const { file, publicKey } = newKey();
      t.ok(await push(publicKey));
      t.notOk(await login(file));
    });
  });
}

t.test('more instances than one sshd has ports', { skip: !existsSync(opensshPath) }, async (t) => {
  const instances = Array.from({ length: 20 }, (_, at) => `i-000000000000000${String(at).padStart(2, '0')}`);
  const sshd = await startSshd({ kind: 'openssh', instances });
  t.teardown(() => sshd.stop());
  const ports = instances.map((id) => sshd.node(id).ports[22]!.port);
  t.equal(new Set(ports).size, 20);
  for (const port of [ports[0]!, ports[19]!]) {
    const scan = spawnSync('ssh-keyscan', ['-p', String(port), '127.0.0.1'], { encoding: 'utf8' });
    for (const hostKey of sshd.hostKeys) t.match(scan.stdout, hostKey);
  }
  t.throws(() => sshd.node('i-0ffffffffffffffff'), /not started for/);
});

t.test('killed outright, its process takes sshd and files with it', { skip: !existsSync(opensshPath) }, async (t) => {
  const program = `
    import { startSshd } from './test/region/sshd/sshd.ts';
    const { port } = await startSshd({ kind: 'openssh' });
    console.log(port);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    cwd: join(import.meta.dirname, '../../..'),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const port = Number(String((await once(child.stdout, 'data'))[0]));
  const folders = () => readdirSync(tmpdir()).filter((name) => name.startsWith(`keyhole-region-${child.pid}-`));
  const scan = () => spawnSync('ssh-keyscan', ['-p', String(port), '127.0.0.1'], { encoding: 'utf8' }).stdout;
  t.match(scan(), 'ssh-ed25519');
  t.equal(folders().length, 1);
  child.kill('SIGKILL');
  await until(() => folders().length === 0);
  t.notMatch(scan(), 'ssh-ed25519');
});
