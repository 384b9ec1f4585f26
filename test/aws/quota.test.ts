// The pace of calls under a quota, against the simulated region's token bucket.
import t from 'tap';
import { startQueue } from '../../src/aws/call-queue.ts';
import { Quota } from '../../src/aws/quota.ts';
import { sleep } from '../../src/clock.ts';
import { ManualClock } from '../manual-clock.ts';
import { Quotas } from '../region/quota.ts';
import { Random } from '../sim/random.ts';

/** As many calls at once, each taking up to `latencyMs` there and back; AWS throttles none of them. */
async function callAll(random: Random, calls: number, perSecond: number, latencyMs: number) {
  const clock = new ManualClock();
  const bucket = new Quotas({ StartSession: perSecond }, clock);
  const queue = startQueue(clock, perSecond);
  const counted: number[] = [];
  const all = Array.from({ length: calls }, (_, n) =>
    queue.run(async () => {
      await sleep(clock, random.between(0, latencyMs / 2));
      bucket.take('account', 'StartSession');
      counted.push(n);
      await sleep(clock, random.between(0, latencyMs / 2));
    }),
  );
  const failures: unknown[] = [];
  let endedAt = 0;
  const ended = Promise.all(all.map((call) => call.catch((error) => failures.push(error)))).then(() => {
    endedAt = clock.now();
  });
  await clock.advance(120_000);
  await ended;
  return { failures, counted, endedAt };
}

t.test('no call is throttled, however long each takes, and no more time is lost than one call takes', async (t) => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const random = new Random(seed);
    const perSecond = random.integer(1, 6);
    const latencyMs = random.between(1, 900);
    const calls = random.integer(1, 60);
    const { failures, counted, endedAt } = await callAll(random, calls, perSecond, latencyMs);
    t.strictSame([failures, counted.length], [[], calls], `seed ${seed}`);
    if (latencyMs > 1_000 * (1 - 1 / perSecond)) continue;
    const lostMs = endedAt - (Math.max(0, calls - perSecond) / perSecond) * 1_000;
    t.ok(
      lostMs <= 2 * latencyMs + 10,
      `seed ${seed}: ${Math.round(lostMs)} ms lost, with ${Math.round(latencyMs)} ms a call`,
    );
  }
});

t.test('a call without an answer holds up those behind it for a second at most', (t) => {
  const quota = new Quota(1);
  quota.send(0);
  t.equal(quota.nextAt(0), 1_000);
  t.equal(quota.nextAt(1_000), 2_000, 'taken as counted after a second');
  quota.answered(0, 5_000);
  t.equal(quota.nextAt(5_000), 2_000);
  t.end();
});

t.test('after throttling the next call waits for a whole token and what is added', (t) => {
  const quota = new Quota(2);
  const call = quota.send(0);
  quota.throttled(call, 100, 0.5);
  t.equal(quota.nextAt(100), 850);
  t.end();
});
