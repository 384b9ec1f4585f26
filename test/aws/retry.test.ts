import t from 'tap';
import { withRetries } from '../../src/aws/retry.ts';
import { AwsError } from '../../src/errors.ts';
import { ManualClock } from '../manual-clock.ts';

function awsError(code: string, retryable: boolean): AwsError {
  return new AwsError(code, code, { service: 'ssm', apiCode: code, retryable });
}

/** An attempt that fails `failures` times, and counts. */
function failing(error: Error, failures: number) {
  const attempt = async () => {
    attempt.count += 1;
    if (attempt.count <= failures) throw error;
    return 'done';
  };
  attempt.count = 0;
  return attempt;
}

t.test('throttling is waited out for as long as the signal allows', async (t) => {
  const clock = new ManualClock();
  const attempt = failing(awsError('throttled', true), 12);
  const result = withRetries(attempt, { clock, signal: new AbortController().signal, random: () => 0.99 });
  await clock.advance(60_000);
  t.equal(await result, 'done');
  t.equal(attempt.count, 13);
});

t.test('pauses grow, are random, and are capped', async (t) => {
  const clock = new ManualClock();
  const at: number[] = [];
  const attempt = async () => {
    at.push(clock.now());
    if (at.length < 8) throw awsError('throttled', true);
  };
  const result = withRetries(attempt, { clock, signal: new AbortController().signal, random: () => 0.5 });
  await clock.advance(60_000);
  await result;
  t.strictSame(
    at.slice(1).map((time, i) => time - at[i]!),
    [250, 500, 1000, 2000, 2000, 2000, 2000],
  );
});

t.test('an abort ends the wait at once, and the reason is what AWS said', async (t) => {
  const clock = new ManualClock();
  const stop = new AbortController();
  const attempt = failing(awsError('throttled', true), 99);
  const result = t.rejects(withRetries(attempt, { clock, signal: stop.signal, random: () => 0.9 }), {
    code: 'throttled',
  });
  await clock.advance(1_000);
  const { count } = attempt;
  stop.abort();
  await result;
  t.equal(attempt.count, count, 'no further attempt');
  t.equal(clock.pending, 0, 'no timer is left');
});

t.test('without a signal the time is bounded all the same', async (t) => {
  const clock = new ManualClock();
  const result = t.rejects(withRetries(failing(awsError('throttled', true), 999), { clock, random: () => 0.9 }), {
    code: 'throttled',
  });
  await clock.advance(16_000);
  await result;
});

t.test('a network that is not there gets three attempts', async (t) => {
  const clock = new ManualClock();
  const attempt = failing(awsError('endpoint-unreachable', true), 99);
  const result = t.rejects(withRetries(attempt, { clock, signal: new AbortController().signal }));
  await clock.advance(60_000);
  await result;
  t.equal(attempt.count, 3);
});

t.test('what will not pass is not tried again', async (t) => {
  for (const error of [awsError('access-denied', false), new TypeError('a bug')]) {
    const attempt = failing(error, 99);
    await t.rejects(withRetries(attempt, { clock: new ManualClock() }), error);
    t.equal(attempt.count, 1);
  }
});

t.test('a clock that is wrong is one more try, with the time that AWS said', async (t) => {
  const clock = new ManualClock();
  const once = failing(awsError('clock-skew', true), 1);
  const mended = withRetries(once, { clock });
  await clock.advance(15_000);
  t.equal(await mended, 'done');
  const always = failing(awsError('clock-skew', true), 99);
  const failed = t.rejects(withRetries(always, { clock }), { code: 'clock-skew' });
  await clock.advance(15_000);
  await failed;
  t.equal(always.count, 2);
});
