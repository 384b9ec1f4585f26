// Targets that are not there yet (issue 6): nodes that come online, never come online, and instances that are started, with
// real ssh. The cases run side by side, since most of their time is waiting.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type DaemonBench, openDaemonBench, works } from './daemon-bench.ts';

t.jobs = 5;
const sideBySide = { buffered: true };
const endpointId = 'eice-0123456789abcdef0';

function writeConfig(bench: DaemonBench, text: string): void {
  mkdirSync(join(bench.home, '.config/keyhole'), { recursive: true });
  writeFileSync(join(bench.home, '.config/keyhole/config.toml'), text);
}

function countOf({ region }: DaemonBench, action: string): number {
  return region.requests.filter((request) => request.action === action).length;
}

t.test('a node that comes online 8 s later is got into', sideBySide, async (t) => {
  const bench = await openDaemonBench(t, { node: { online: false } });
  bench.region.connectLater(bench.instances[0]!, 8_000);
  t.match(await bench.works(), works);
  t.equal(countOf(bench, 'StartSession'), 2, 'one that was refused, one that was not');
});

t.test('a node that never comes online is an error at the bound, with what to check', sideBySide, async (t) => {
  const bench = await openDaemonBench(t, { node: { online: false }, env: { KEYHOLE_WAIT: '3s' } });
  const result = await bench.works();
  t.equal(result.status, 255);
  const [line, hint] = result.stderr.split('\n');
  t.match(line, /^keyhole: i-\w+ is not connected to Systems Manager in eu-west-1 .*, also after 3s$/);
  t.match(hint, /^keyhole: hint: is it running, in this region and account, with the SSM agent up and a role with /);
  t.equal(countOf(bench, 'StartSession'), 1);
  t.ok(countOf(bench, 'GetConnectionStatus') >= 2);
  t.match(await bench.failures(), [{ code: 'target-not-connected', message: /also after 3s$/ }]);
});

t.test('start = true: a stopped instance is started, and ssh gets in without a second try', sideBySide, async (t) => {
  const bench = await openDaemonBench(t, {
    instances: 2,
    node: { boot: { visibleMs: 300, runningMs: 2_000, onlineMs: 7_000 } },
  });
  const [id, other] = bench.instances;
  bench.region.nodes.get(id!)!.state = 'stopped';
  t.match(await bench.works({}, [], other), works);
  const refused = await bench.works();
  t.match(refused, {
    status: 255,
    stderr: `keyhole: ${id} is stopped\nkeyhole: hint: aws ec2 start-instances --instance-ids ${id}; the setting start = true does it by itself\n`,
  });
  t.equal(countOf(bench, 'StartInstances'), 0);

  writeConfig(bench, `deadline = 5\n[host."${id}"]\nstart = true\n`);
  const results = await Promise.all([bench.works(), bench.works()]);
  for (const { status, text, stderr } of results) {
    t.match({ status, text }, { status: 0, text: 'works\n' });
    t.match(stderr, `keyhole: ${id} is running; waiting until it can be reached\n`);
    t.notMatch(stderr, /^keyhole: (?!i-\w+ is )/m);
  }
  t.ok(results.some(({ stderr }) => stderr.includes(`keyhole: ${id} is stopped; starting it\n`)));
  t.ok(countOf(bench, 'StartInstances') >= 1);
  t.match(
    (await bench.failures()).map(({ code }) => code),
    ['instance-stopped'],
    'the one from before',
  );
});

t.test(
  'start = true: an instance without agent is got into by the endpoint as soon as it answers',
  sideBySide,
  async (t) => {
    const bench = await openDaemonBench(t, {
      node: { state: 'stopped', boot: { visibleMs: 100, runningMs: 1_000, onlineMs: 600_000 } },
      region: { endpoints: [{ endpointId }] },
      env: { KEYHOLE_START: 'true' },
    });
    t.match(await bench.works(), { status: 0, text: 'works\n' });
    t.equal(bench.region.tunnels.length, 1);
  },
);

t.test('start = true: who may not start it is told so', sideBySide, async (t) => {
  const bench = await openDaemonBench(t, {
    node: { state: 'stopped' },
    region: { denials: [{ action: 'ec2:StartInstances' }] },
    env: { KEYHOLE_START: 'true' },
  });
  const [id] = bench.instances;
  t.match(await bench.works(), {
    status: 255,
    stderr: new RegExp(
      `^keyhole: ${id} is stopped; starting it\nkeyhole: AWS denies ec2:StartInstances on ${id} to .*\nkeyhole: hint: its policy must allow ec2:StartInstances on `,
    ),
  });
});
