// Many connections at once, under AWS's quota of three StartSession per second (issue 3): all of them succeed within the
// helper's deadline, in the order in which they came, with one daemon and one key push per instance.
import t, { type Test } from 'tap';
import { type DaemonBench, openDaemonBench, works } from './daemon-bench.ts';
import { patience, type Result, until } from './fixture.ts';

/** So many calls may be on their way to AWS at once, where the later one can be the first to arrive: AWS's in two seconds. */
const underWay = 6;
/** The helper's own, stretched as other bounds are (fixture.ts): 30 sessions take ten of its fourteen seconds in any case. */
const deadline = { KEYHOLE_DEADLINE: `${14 * patience}s` };

/**
 * Starts as many ssh as there are hosts, one after the other without a pause, and waits for all of them. This process is the
 * region too, and stands still while it starts another: on a busy machine for a tenth of a second, so it is let go on in between.
 */
async function startAll(bench: DaemonBench, hosts: string[], env: Record<string, string> = {}): Promise<Result[]> {
  const results: Promise<Result>[] = [];
  for (const host of hosts) {
    results.push(bench.works({ env, timeoutMs: 120_000 }, [], host));
    results.at(-1)!.catch(() => {}); // told below
    await new Promise((resolve) => setImmediate(resolve));
  }
  return await Promise.all(results);
}

/** How many connections the daemon was asked for. */
function asked(bench: DaemonBench): number {
  return bench.log().match(/tunnel wanted/g)?.length ?? 0;
}

function check(t: Test, bench: DaemonBench, results: Result[]): void {
  // Not all of stderr: it has what the login shells of this machine say when many start at once.
  const failed = results.filter(
    ({ status, text, stderr }) => status !== 0 || text !== works.text || stderr.includes('keyhole'),
  );
  t.same(
    failed.map(({ status, stderr }) => ({ status, stderr })),
    [],
    'every ssh succeeds, in silence',
  );
  t.equal(bench.daemons().length, 1, 'one daemon');
  t.equal(bench.log().match(/daemon listens/g)?.length, 1, 'and never another');
  const calls = (name: string) => bench.region.requests.filter(({ action }) => action === name);
  t.same(calls('DescribeInstances'), [], 'no DescribeInstances');
  const pushes = bench.region.pushes.map(({ instanceId, user }) => `${user}@${instanceId}`);
  t.same(pushes, [...new Set(pushes)], 'one SendSSHPublicKey per instance and user at most');
  const throttled = calls('StartSession').filter(({ error }) => error === 'ThrottlingException');
  // None on a quiet machine; where a call takes more than a second to AWS, the next ones may overtake it. Without a line
  // there would be hundreds.
  t.ok(
    throttled.length <= results.length / 2,
    `AWS is asked in its own time; ${throttled.length} calls were throttled`,
  );
  checkOrder(t, bench);
}

/** AWS started the sessions in the order in which the daemon was asked, but for calls that were under way together. */
function checkOrder(t: Test, bench: DaemonBench): void {
  // The daemon numbers its tunnels in the order in which they are wanted.
  const started = bench.log().matchAll(/session started tunnel=(\d+) session=(\S+)/g);
  const numbers = new Map([...started].map(([, tunnel, session]) => [session!, Number(tunnel)]));
  const order = bench.region.sessions.map(({ sessionId }) => numbers.get(sessionId)!);
  const inOrder = order.toSorted((a, b) => a - b);
  const displaced = order.filter((number, at) => Math.abs(inOrder.indexOf(number) - at) > underWay);
  // None on a quiet machine; where it stands still for seconds, all calls of that time are on their way together. Without a
  // line hardly any would be in its place.
  t.ok(displaced.length <= order.length / 4, `first come, first served: ${order.join(' ')}`);
}

t.test('60 ssh at once to 15 instances, with the deadline raised', async (t) => {
  const bench = await openDaemonBench(t, { instances: 15 });
  const hosts = Array.from({ length: 60 }, (_, at) => bench.instances[at % 15]!);
  check(t, bench, await startAll(bench, hosts, { KEYHOLE_DEADLINE: '60s' }));
  t.equal(bench.region.sessions.length, 60, '60 sessions');
  t.equal(bench.region.pushes.length, 15);
  await bench.idle();
});

t.test('30 ssh at once to one instance; past the deadline the error says how long the line is', async (t) => {
  const bench = await openDaemonBench(t);
  // Ten seconds of line, of which those who come pass some.
  const patient = startAll(bench, Array(30).fill(bench.instances[0]), deadline);
  await until('the line is there', () => asked(bench) === 30);
  const { status, stderr } = await bench.works({ env: { KEYHOLE_DEADLINE: `${patience}s` } });
  t.equal(status, 255);
  t.match(
    stderr,
    /^keyhole: i-[0-9a-f]{17}: [1-9]\d* connections still wait before this one .*3 sessions per second\nkeyhole: hint: .*deadline/,
  );
  t.match((await bench.failures()).at(-1), { code: 'throttled', host: bench.instances[0]! });
  check(t, bench, await patient);
  t.equal(bench.region.sessions.length, 30);
  t.equal(bench.region.pushes.length, 1);
  await bench.idle();
});
