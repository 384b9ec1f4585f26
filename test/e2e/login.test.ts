// Login trouble from end to end (issue 6): a code of an MFA device asked for on ssh's terminal, and what is said where there
// is none; an SSO login that has ended. The terminal is script(1)'s.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type DaemonBench, openDaemonBench, useProfiles, works } from './daemon-bench.ts';
import { keyhole, until } from './fixture.ts';

const roleArn = 'arn:aws:iam::111122223333:role/Admin';
const serial = 'arn:aws:iam::111122223333:mfa/alice';

/** A profile `admin` whose role wants a code. */
function useRole(bench: DaemonBench): void {
  useProfiles(bench, { base: {} });
  const config = `[profile admin]\nrole_arn = ${roleArn}\nsource_profile = base\nmfa_serial = ${serial}\nregion = eu-west-1\n`;
  writeFileSync(join(bench.home, '.aws/config'), config);
  bench.env.AWS_PROFILE = 'admin';
}

/** ssh at a terminal of its own: what it shows, and where it is typed. */
function atTerminal(bench: DaemonBench) {
  const command = `ssh -F '${bench.config}' ${bench.instances[0]} 'echo works'`;
  return bench.start('script', ['-qec', command, '/dev/null'], { input: 'open' });
}

t.test('an MFA code is asked for on the terminal, once; then the daemon knows the credentials', async (t) => {
  const bench = await openDaemonBench(t, {
    region: { roles: { [roleArn]: { mfa: { serial, codes: ['123456', '654321'] } } } },
  });
  useRole(bench);
  const without = await bench.run('setsid', ['-w', 'ssh', '-F', bench.config, bench.instances[0]!, 'true']);
  t.equal(without.status, 255);
  t.match(
    without.stderr,
    /^keyhole: i-\w+: the MFA code of arn:\S+ is wanted, and there is no terminal to ask for it\nkeyhole: hint: connect once from a terminal/,
  );
  t.match(
    (await bench.failures()).map(({ code }) => code),
    ['mfa-needed'],
  );

  const refused = atTerminal(bench);
  await until('it is asked for', () => refused.stdout().includes(`keyhole: MFA code of ${serial}: `), 20_000);
  refused.child.stdin.write('999999\n');
  t.match(await refused.exit, { status: 255, text: /keyhole: i-\w+: AWS refuses the MFA code for profile admin\r\n/ });

  const asked = atTerminal(bench);
  await until('it is asked for', () => asked.stdout().includes('MFA code of'), 20_000);
  asked.child.stdin.write('12\n');
  await until('it is asked for again', () => asked.stdout().toString().split('MFA code of').length === 3, 20_000);
  asked.child.stdin.write('123456\n');
  t.match(await asked.exit, { status: 0, text: /works\r\n$/ });

  t.match(await bench.works(), works, 'nobody is asked again, and so no terminal is needed');
  const signers = bench.region.requests.filter(({ action }) => action === 'StartSession').map(({ arn }) => arn);
  for (const arn of signers) t.match(arn, /:assumed-role\/Admin\//);
});

t.test('without the daemon it is asked for too', async (t) => {
  const bench = await openDaemonBench(t, {
    region: { roles: { [roleArn]: { mfa: { serial, codes: ['123456'] } } } },
  });
  useRole(bench);
  const [id] = bench.instances;
  // Its client stays until the target has spoken.
  const client = 'until [ -s spoken ]; do sleep 0.1; done';
  const proxy = `${client} | "$KEYHOLE" proxy --no-daemon -- ${id} 22 | head -c 7 | tee spoken`;
  const run = bench.start('script', ['-qec', proxy, '/dev/null'], { input: 'open', env: { KEYHOLE: keyhole } });
  await until('it is asked for', () => run.stdout().includes('MFA code of'), 20_000);
  run.child.stdin.write('123456\n');
  t.match(await run.exit, { text: /SSH-2\.0$/ });
});

t.test('an SSO login that is missing is said with the command that mends it', async (t) => {
  const bench = await openDaemonBench(t);
  useProfiles(bench, { base: {} });
  writeFileSync(
    join(bench.home, '.aws/config'),
    '[sso-session corp]\nsso_start_url = https://corp.example/start\nsso_region = eu-west-1\n' +
      '[profile dev]\nregion = eu-west-1\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = Dev\n',
  );
  t.match(await bench.works({ env: { AWS_PROFILE: 'dev' } }), {
    status: 255,
    stderr:
      'keyhole: i-0123456789abcdef0: the SSO login of profile dev is missing or has expired\nkeyhole: hint: aws sso login --profile dev\n',
  });
});
