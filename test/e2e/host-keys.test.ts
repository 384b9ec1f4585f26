// ssh under StrictHostKeyChecking yes, with no other host keys than those that AWS vouches for (issue 6, 4). The daemon has
// them in known_hosts before ssh looks.
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { hostKeysDocument } from '../../src/hostkeys/host-keys-document.ts';
import { type Sshd, startSshd } from '../region/sshd/sshd.ts';
import { type DaemonBench, openDaemonBench, works } from './daemon-bench.ts';
import { keyhole } from './fixture.ts';

const document = 'keyhole-host-keys';
const byDocument = { KEYHOLE_HOST_KEYS: `ssm-document:${document}` };

async function open(t: Test, env: Record<string, string>): Promise<DaemonBench> {
  const commandDocuments = { [document]: JSON.stringify(hostKeysDocument()) };
  const region = { commandDocuments, commands: { visibleAfterMs: 0, deliveryMs: 0 } };
  const bench = await openDaemonBench(t, { region, env });
  const lines = [`UserKnownHostsFile ${join(bench.sshDir, 'known_hosts')}`, 'UpdateHostKeys no'];
  bench.configure({ lines });
  return bench;
}

function knownHosts(bench: DaemonBench): string {
  const file = join(bench.sshDir, 'known_hosts');
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}

function linesOf(bench: DaemonBench, name: string, { hostKeys }: Sshd = bench.sshd): string {
  return hostKeys.map((key) => `${name} ${key} keyhole:${bench.instances[0]}\n`).join('');
}

/** Another sshd in the place of the first, with other host keys: somebody in the middle, or the same host built anew. */
async function swapSshd(t: Test, bench: DaemonBench): Promise<Sshd> {
  const other = await startSshd({ instances: bench.instances });
  t.teardown(() => other.stop());
  const [instance] = bench.instances;
  const { ports, publishKeys } = other.node(instance!);
  Object.assign(bench.region.nodes.get(instance!)!, { ports, publishKeys });
  return other;
}

t.test('the first connection asks nothing, one in the middle is refused, and a host built anew is known', async (t) => {
  const bench = await open(t, byDocument);
  if (bench.sshd.kind !== 'openssh') return t.comment('the embedded sshd has no files');
  const [host] = bench.instances as [string];
  t.equal(knownHosts(bench), '');
  t.match(await bench.works(), works);
  t.equal(knownHosts(bench), linesOf(bench, host));
  t.match(await bench.works(), works);
  t.equal(bench.region.commands.length, 1, 'asked once');
  await bench.idle();

  const other = await swapSshd(t, bench);
  t.match(await bench.works(), { status: 255, text: '', stderr: /Host key verification failed/ });
  const careless = ['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'];
  t.match(await bench.works({}, careless), { status: 255, stderr: /Permission denied/ }, 'nor does it get a login');
  await bench.keyhole(['daemon', 'stop']); // the next one has to ask again
  t.match(await bench.works(), { status: 255, text: '', stderr: /Host key verification failed/ }, 'AWS says no other');
  t.equal(bench.region.commands.length, 2);

  bench.region.nodes.get(host)!.runScript = other.files().runScript;
  await bench.keyhole(['daemon', 'stop']);
  t.match(await bench.works(), works, 'now it does');
  t.equal(knownHosts(bench), linesOf(bench, host, other));
  await bench.idle();
});

t.test('by its name, at another port, and beside lines of the user’s own', async (t) => {
  const bench = await open(t, { KEYHOLE_HOST_KEYS: 'ssm-shell' });
  if (bench.sshd.kind !== 'openssh') return t.comment('the embedded sshd has no files');
  const [host] = bench.instances as [string];
  const node = bench.region.nodes.get(host)!;
  node.ports[2222] = node.ports[22]!;
  await bench.keyhole(['daemon', 'start']);
  const own = '# own\nelsewhere ssh-ed25519 AAAA\n';
  const wrong = `${host} ${bench.sshd.hostKeys[0]!.replace(/.{8}$/, 'AAAAAAAA')}\n`;
  writeFileSync(join(bench.sshDir, 'known_hosts'), own + wrong);
  t.match(await bench.works({}, ['-p', '2222']), works);
  t.equal(knownHosts(bench), own + wrong + linesOf(bench, `[${host}]:2222`));
  t.match(await bench.works(), works);
  t.equal(knownHosts(bench), own + linesOf(bench, host) + linesOf(bench, `[${host}]:2222`));
  await bench.idle();
});

t.test('from the console, by hand, and from where AWS does not say', async (t) => {
  const bench = await open(t, { KEYHOLE_HOST_KEYS: 'console-output' });
  const [host] = bench.instances as [string];
  const node = bench.region.nodes.get(host)!;
  const other = { KEYHOLE_HOST_KEYS: 'ssm-document:other' };
  const unknown = { status: 255, stderr: /No \S+ host key is known for \S+ and you have requested strict checking/ };
  t.match(await bench.works(), unknown, 'nothing there yet');
  t.match(await bench.works({ env: other }), unknown, 'no such document');
  t.match(await bench.failures(), [
    { code: 'host-keys-unknown', message: /console of i-\S+ shows no host keys/ },
    { code: 'document-unknown', message: /other/, hint: /policy .*--host-keys-document/ },
  ]);
  t.equal(knownHosts(bench), '');
  const keys = bench.sshd.hostKeys.map((key) => `${key} root@ip-10-0-1-23`);
  const block = ['-----BEGIN SSH HOST KEY KEYS-----', ...keys, '-----END SSH HOST KEY KEYS-----'];
  node.consoleOutput = ['[    0.0] Linux', ...block, 'ip-10-0-1-23 login: '].join('\r\n');
  t.match(await bench.works(), works);
  t.equal(knownHosts(bench), linesOf(bench, host));
  await bench.idle();

  rmSync(join(bench.sshDir, 'known_hosts'));
  const alone = `ProxyCommand="${keyhole}" proxy --no-daemon -- %h %p %r`;
  const refused = await bench.works({}, ['-o', alone, '-o', 'ProxyUseFdpass=no', '-o', 'IdentityAgent=none']);
  t.match(refused, { stderr: /Permission denied \(publickey\)/ }, 'no daemon: no key, but the host is known');
  t.equal(knownHosts(bench), linesOf(bench, host));

  const printed = await bench.keyhole(['host-keys', '--port', '2222', host]);
  t.match(printed, { status: 0, text: linesOf(bench, `[${host}]:2222`), stderr: '' });
  const env = { KEYHOLE_HOST_KEYS: undefined };
  t.match(await bench.keyhole(['host-keys', host], { env }), { status: 2, stderr: /host_keys names no source/ });
});
