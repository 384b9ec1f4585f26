import t from 'tap';
import { Backoff } from '../../src/ssm/backoff.ts';

t.test('the first try is at once, the pauses double up to 5 s', async (t) => {
  const backoff = new Backoff(60_000, () => 1);
  const pauses = Array.from({ length: 8 }, () => backoff.next(0));
  t.strictSame(pauses, [0, 400, 800, 1600, 3200, 5000, 5000, 5000]);
});

t.test('dice take up to half off', async (t) => {
  for (const [random, pause] of [
    [0, 200],
    [0.5, 300],
    [1, 400],
  ] as const) {
    const backoff = new Backoff(60_000, () => random);
    backoff.next(0);
    t.equal(backoff.next(0), pause);
  }
});

t.test('no try begins after the time', async (t) => {
  const backoff = new Backoff(1000, () => 0);
  t.equal(backoff.next(500), 0);
  t.equal(backoff.next(1300), 200, 'at 1500, which is 1000 after the first');
  t.equal(backoff.next(1101), undefined, 'the next would be at 1501');
});

t.test('with no time at all there is still the first try', async (t) => {
  const backoff = new Backoff(0, () => 0);
  t.equal(backoff.next(7), 0);
  t.equal(backoff.next(7), undefined);
});

t.test('after reset it begins anew', async (t) => {
  const backoff = new Backoff(1000, () => 0);
  backoff.next(0);
  backoff.next(0);
  backoff.reset();
  t.equal(backoff.next(5000), 0);
  t.equal(backoff.next(5000), 200);
});

t.test('in a hurry pauses are short again, but the time goes on', async (t) => {
  const backoff = new Backoff(1000, () => 0);
  for (const pause of [0, 200, 400]) t.equal(backoff.next(0), pause);
  backoff.hurry();
  t.equal(backoff.next(700), 200);
  t.equal(backoff.next(700), undefined);
});
