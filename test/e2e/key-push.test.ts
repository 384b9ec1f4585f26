// Logins by keys that were pushed over SSM, to nodes whose sshd knows none of ours beforehand (issue 6, 2). The script runs
// under the machine's own sh, and sshd reads what it left.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { pushDocument } from '../../src/keypush/push-document.ts';
import { type DaemonBench, openDaemonBench, works } from './daemon-bench.ts';
import { nodeId } from './fixture.ts';
import { makeFile, sha256 } from './transfer.ts';

const document = 'keyhole-push';

async function openNode(t: Test, env: Record<string, string>): Promise<DaemonBench> {
  const commandDocuments = { [document]: JSON.stringify(pushDocument()) };
  return await openDaemonBench(t, { ids: [nodeId], region: { commandDocuments }, env });
}

function authorizedKeys(bench: DaemonBench): string {
  const file = join(bench.sshd.files().home(bench.sshd.user), '.ssh/authorized_keys');
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}

t.test('ssh and scp to a node by a document', async (t) => {
  const bench = await openNode(t, { KEYHOLE_PUSH: `ssm-document:${document}` });
  if (bench.sshd.kind !== 'openssh') return t.comment('the embedded sshd has no files');
  t.equal(authorizedKeys(bench), '');
  t.match(await bench.works(), works);
  t.match(authorizedKeys(bench), /^expiry-time="[0-9]{14}Z?" ssh-ed25519 [A-Za-z0-9+/]{68} keyhole:[0-9]{10}\n$/);
  const file = makeFile(bench, 'file', 1_000_000);
  t.match(await bench.run('scp', ['-q', '-F', bench.config, file, `${nodeId}:${bench.path('up')}`]), { status: 0 });
  t.equal(await sha256(bench.path('up')), await sha256(file));
  t.equal(bench.region.commands.length, 1, 'one push for both');
  t.match(bench.region.commands[0], { status: 'Success', documentName: document, parameters: { seconds: ['120'] } });
  t.same(await bench.failures(), []);
  await bench.idle();
});
