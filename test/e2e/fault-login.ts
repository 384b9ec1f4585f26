// Credentials that end while nobody is at the keyboard: the connection is cut, waits, says what to do, and goes on when the
// user has done it.
import type { Test } from 'tap';
import { openDaemonBench, useProfiles } from './daemon-bench.ts';
import { until } from './fixture.ts';

export async function loggedOut(t: Test): Promise<void> {
  const bench = await openDaemonBench(t);
  const { accessKeyIds } = useProfiles(bench, { work: {} });
  const host = bench.instances[0]!;
  const env = { AWS_PROFILE: 'work' };
  const ssh = bench.start('ssh', ['-F', bench.config, host, 'exec cat'], { input: 'open', env, timeoutMs: 200_000 });
  const say = async (line: string) => {
    ssh.child.stdin.write(`${line}\n`);
    await until(`ssh answers "${line}" ${ssh.stderr()}`, () => ssh.stdout().toString().endsWith(`${line}\n`), 60_000);
  };
  await say('before');
  bench.region.identities.expire(accessKeyIds.work);
  bench.region.cut({ by: 'reset' });
  const waits = async () => (await bench.status())?.tunnels[0]?.interrupted?.code === 'credentials-expired';
  await until('the tunnel waits for the user', waits, 60_000);
  const hint = 'aws sso login --profile work';
  t.match((await bench.status())?.tunnels, [{ state: 'resuming', interrupted: { hint: new RegExp(hint) } }]);
  t.match((await bench.keyhole(['status'])).text, `resuming`);
  t.match((await bench.keyhole(['status'])).text, hint);
  t.match(await bench.failures(), [{ host, code: 'credentials-expired', hint: new RegExp(hint) }]);
  useProfiles(bench, { work: {} }); // the user has got new ones
  await say('after');
  t.match((await bench.status())?.tunnels, [{ state: 'open', resumes: 1 }]);
  ssh.child.stdin.end();
  t.equal((await ssh.exit).status, 0);
  t.equal(bench.region.sessions.length, 1);
  await bench.idle();
}
