import t from 'tap';
import { resumeQueue, startQueue } from '../../src/aws/call-queue.ts';
import { AwsError, KeyholeError } from '../../src/errors.ts';
import { ManualClock, turn } from '../manual-clock.ts';

const throttled = () =>
  new AwsError('throttled', 'AWS is throttling', { service: 'ssm', apiCode: 'ThrottlingException' });

function setUp(perSecond = 3, random = () => 0.5) {
  const clock = new ManualClock();
  const queue = startQueue(clock, perSecond, random);
  const log: [string, number][] = [];
  /** Notes name and time of every attempt; `answers` throttles that many of them. */
  const start = (name: string, throttles = 0, signal?: AbortSignal) => {
    let left = throttles;
    return queue.run(async () => {
      log.push([name, Math.round(clock.now())]);
      if (left-- > 0) throw throttled();
      return name;
    }, signal);
  };
  return { clock, queue, log, start };
}

t.test('six sessions are resumed per second, and one that waits in vain says what for', async (t) => {
  const clock = new ManualClock();
  const queue = resumeQueue(clock);
  let calls = 0;
  const resume = (signal?: AbortSignal) => queue.run(async () => void calls++, signal);
  const all = Promise.all(Array.from({ length: 12 }, () => resume()));
  const stop = new AbortController();
  const late = resume(stop.signal);
  await turn();
  t.equal(calls, 6);
  stop.abort();
  await t.rejects(late, {
    code: 'throttled',
    retryable: true,
    message: /^6 sessions still wait .* resumes 6 per second$/,
  });
  await clock.advance(1_100);
  await all;
  t.equal(calls, 12);
});

t.test('as many as the quota start at once, the others one after the other, first come first served', async (t) => {
  const { clock, queue, log, start } = setUp();
  const all = Promise.all(Array.from({ length: 30 }, (_, n) => start(String(n))));
  await turn();
  t.equal(log.length, 3);
  t.equal(queue.length, 27);
  await clock.advance(9_100);
  t.strictSame(
    await all,
    Array.from({ length: 30 }, (_, n) => String(n)),
  );
  t.strictSame(
    log.map(([name]) => Number(name)),
    Array.from({ length: 30 }, (_, n) => n),
  );
  for (const [name, at] of log)
    t.ok(at <= Math.ceil(((Number(name) - 2) * 1000) / 3) + 1 || Number(name) < 3, `${name} at ${at}`);
  for (let n = 3; n < 30; n++) t.ok(log[n]![1] - log[n - 3]![1] >= 330, 'never more than three in a second');
  t.equal(clock.pending, 0);
});

t.test('after a pause the whole quota is there again, and not more', async (t) => {
  const { clock, log, start } = setUp();
  void start('a');
  await clock.advance(60_000);
  for (const name of ['b', 'c', 'd', 'e']) void start(name);
  await turn();
  t.strictSame(
    log.map(([name]) => name),
    ['a', 'b', 'c', 'd'],
  );
  await clock.advance(400);
  t.equal(log.length, 5);
});

t.test('calls that AWS throttles come again before those behind them, in their old order', async (t) => {
  const { clock, log, start } = setUp();
  const all = [start('a', 1), start('b', 1), start('c'), start('d'), start('e')];
  await clock.advance(5_000);
  await Promise.all(all);
  t.strictSame(
    log.map(([name]) => name),
    ['a', 'b', 'c', 'a', 'b', 'd', 'e'],
  );
  t.ok(log[3]![1] >= 400, 'and not at once');
});

t.test('other failures are the call’s own', async (t) => {
  const { queue } = setUp();
  await t.rejects(
    queue.run(async () => Promise.reject(new KeyholeError('x', 'x'))),
    { code: 'x' },
  );
  t.equal(queue.length, 0);
});

t.test('whoever gives up leaves the line, is told how long it was, and holds nobody up', async (t) => {
  const { clock, queue, log, start } = setUp();
  const stop = new AbortController();
  for (const name of ['a', 'b', 'c', 'd', 'e']) void start(name);
  const leaving = start('f', 0, stop.signal);
  const last = start('g');
  await turn();
  t.equal(queue.length, 4);
  stop.abort();
  await t.rejects(leaving, {
    code: 'throttled',
    message: /^2 connections still wait before this one .* 3 sessions per second/,
  });
  await clock.advance(2_000);
  await last;
  t.strictSame(
    log.map(([name]) => name),
    ['a', 'b', 'c', 'd', 'e', 'g'],
  );
  t.equal(clock.pending, 0);
});

t.test('who has given up already does not call, and a throttled one that gave up does not come again', async (t) => {
  const { clock, log, start } = setUp();
  await t.rejects(start('a', 0, AbortSignal.abort()), { code: 'throttled' });
  t.strictSame(log, []);
  const stop = new AbortController();
  const waiting = start('b', 9, stop.signal);
  await turn();
  stop.abort();
  await t.rejects(waiting, { code: 'throttled' });
  await clock.advance(5_000);
  t.equal(log.length, 1);
});
