// Logins by keys that were pushed over SSM, to hosts whose sshd knows none of ours beforehand (issue 6, 2). The script runs
// under the machine's own sh, and sshd reads what it left.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { pushDocument } from '../../src/keypush/push-document.ts';
import { type DaemonBench, type DaemonBenchOptions, openDaemonBench, works } from './daemon-bench.ts';
import { keyhole, nodeId, until } from './fixture.ts';
import { makeFile, sha256 } from './transfer.ts';

const document = 'keyhole-push';
const byDocument = { KEYHOLE_PUSH: `ssm-document:${document}` };
const line = /^expiry-time="[0-9]{14}Z?" ssh-ed25519 [A-Za-z0-9+/]{68} keyhole:[0-9]{10}\n$/;

async function open(t: Test, env: Record<string, string>, more: DaemonBenchOptions = {}): Promise<DaemonBench> {
  const commandDocuments = { [document]: JSON.stringify(pushDocument()) };
  const region = { commandDocuments, commands: { visibleAfterMs: 0, deliveryMs: 0 } };
  return await openDaemonBench(t, { ids: [nodeId], region, env, ...more });
}

/** Undefined, with a comment, where the machine's own sshd is missing: the embedded one has no file system. */
function authorizedKeys(t: Test, bench: DaemonBench): (() => string) | undefined {
  if (bench.sshd.kind !== 'openssh') return void t.comment('the embedded sshd has no files');
  const file = join(bench.sshd.files().home(bench.sshd.user), '.ssh/authorized_keys');
  return () => (existsSync(file) ? readFileSync(file, 'utf8') : '');
}

t.test('ssh and scp to a node by a document, from before it is online', async (t) => {
  const bench = await open(t, byDocument, { node: { online: false } });
  const keys = authorizedKeys(t, bench);
  if (keys === undefined) return;
  t.equal(keys(), '');
  const first = bench.works();
  const refused = [/key push failed/, /operation=StartSession code=target-not-connected/];
  await until('key and session have been refused', () => refused.every((line) => line.test(bench.log())), 20_000);
  bench.region.connectLater(nodeId, 0);
  t.match(await first, works);
  t.match(keys(), line);
  const file = makeFile(bench, 'file', 1_000_000);
  t.match(await bench.run('scp', ['-q', '-F', bench.config, file, `${nodeId}:${bench.path('up')}`]), { status: 0 });
  t.equal(await sha256(bench.path('up')), await sha256(file));
  t.match(bench.region.commands, [{ status: 'Success', documentName: document, parameters: { seconds: ['120'] } }]);
  t.equal(bench.region.commands.length, 1, 'one push for both');
  t.same(await bench.failures(), []);
  await bench.idle();
});

t.test('an instance without EC2 Instance Connect by AWS-RunShellScript, many at once', async (t) => {
  const bench = await open(t, { KEYHOLE_PUSH: 'ssm-shell' }, { ids: ['i-0123456789abcdef0'] });
  const keys = authorizedKeys(t, bench);
  if (keys === undefined) return;
  const results = await Promise.all(Array.from({ length: 5 }, () => bench.works()));
  for (const result of results) t.match(result, works);
  t.match(keys(), line);
  t.equal(bench.region.commands.length, 1);
  t.equal(bench.region.pushes.length, 0);
  await bench.idle();
});

t.test('a line is dead after its time, and gone after the next push', async (t) => {
  const bench = await open(t, byDocument);
  const keys = authorizedKeys(t, bench);
  if (keys === undefined) return;
  // The clock of the node is so far behind that sshd, which has the machine's, is past the end of the line.
  const files = bench.sshd.files();
  files.install('date', '[ "$*" = +%s ] && echo "$(($(/bin/date +%s) - 130))" && exit; exec /bin/date "$@"');
  t.match(await bench.works(), { status: 255, stderr: /Permission denied \(publickey\)/ });
  const dead = keys();
  t.match(dead, line);
  await bench.idle();

  files.install('date', 'exec /bin/date "$@"');
  await bench.keyhole(['daemon', 'stop']); // the next one has another key
  t.match(await bench.works(), works);
  t.match(keys(), line);
  t.not(keys(), dead);
  await bench.idle();
});

t.test('what a shell would mind is refused before anything is sent, and why there is no key is recorded', async (t) => {
  const bench = await open(t, byDocument);
  const trap = bench.path('trap');
  const hostile = await bench.run(keyhole, ['proxy', '--', nodeId, '22', `x'; touch ${trap}; '`]);
  t.match(hostile, { status: 2, stdout: Buffer.alloc(0), stderr: /keyhole: .* is not a login name/ });
  t.same(bench.region.requests, []);
  // A number is a login name elsewhere; to getent it is a user id.
  const denied = { status: 255, stderr: /Permission denied \(publickey\)/ };
  t.match(await bench.ssh(['-l', '0', nodeId, 'true']), denied);
  t.same(bench.region.commands, []);
  t.notOk(existsSync(trap));
  if (bench.sshd.kind === 'openssh') t.match(await bench.ssh(['-l', 'nosuchuser', nodeId, 'true']), denied);
  t.match(await bench.works({ env: { KEYHOLE_PUSH: 'ssm-document:other' } }), denied);
  t.match(await bench.failures(), [
    { code: 'push-refused', message: /login name "0"/ },
    ...(bench.sshd.kind === 'openssh'
      ? [{ code: 'command-failed', message: /there is no user nosuchuser on the node/ }]
      : []),
    { code: 'document-unknown', hint: /policy --push-document/ },
  ]);
  t.match((await bench.status())?.pushes.at(-1), { state: 'failed', code: 'document-unknown' });
  await bench.idle();
});
