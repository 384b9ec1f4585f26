import t from 'tap';
import { RoundTrip } from '../../src/ssm/round-trip.ts';

function sampled(...samples: number[]): RoundTrip {
  const roundTrip = new RoundTrip();
  for (const ms of samples) roundTrip.sample(ms);
  return roundTrip;
}

t.test('before any sample the timeout is the 200 ms of the references', async (t) => {
  const roundTrip = new RoundTrip();
  t.equal(roundTrip.timeout, 200);
  t.equal(roundTrip.smoothed, undefined);
  t.equal(roundTrip.reorderWait, 110);
});

t.test('the timeout follows the constants of 4.4, variation first', async (t) => {
  // The first sample replaces the assumed round trip of 100 ms; |100 − 20| / 4 is the variation.
  const roundTrip = sampled(20);
  t.equal(roundTrip.smoothed, 20);
  t.equal(roundTrip.timeout, 20 + 4 * 20);
  roundTrip.sample(60);
  const variation = 0.75 * 20 + 0.25 * 40;
  t.equal(roundTrip.smoothed, 0.875 * 20 + 0.125 * 60);
  t.equal(roundTrip.timeout, 25 + 4 * variation);
});

t.test('steady samples bring it down to the clock granularity of 10 ms', async (t) => {
  const roundTrip = sampled(...Array(200).fill(40));
  t.ok(Math.abs(roundTrip.timeout - 50) < 0.001);
  t.ok(Math.abs(roundTrip.reorderWait - 50) < 0.001);
});

t.test('the timeout is at most 1 s', async (t) => {
  t.equal(sampled(60_000).timeout, 1000);
  t.equal(sampled(60_000).reorderWait, 1000);
});

t.test('it doubles up to 5 s while nothing is heard', async (t) => {
  const roundTrip = new RoundTrip();
  const timeouts = Array.from({ length: 7 }, () => {
    roundTrip.timedOut();
    return Math.round(roundTrip.timeout);
  });
  t.strictSame(timeouts, [400, 800, 1600, 3200, 5000, 5000, 5000]);
  t.equal(roundTrip.reorderWait, 110, 'reordering takes no longer for it');
});

t.test('progress without a sample halves the backoff, down to none', async (t) => {
  const roundTrip = new RoundTrip();
  roundTrip.timedOut();
  roundTrip.timedOut();
  for (const timeout of [400, 200, 200]) {
    roundTrip.progressed();
    t.equal(roundTrip.timeout, timeout);
  }
});

t.test('a sample or a new socket ends the backoff', async (t) => {
  const roundTrip = sampled(20);
  roundTrip.timedOut();
  t.equal(roundTrip.timeout, 200);
  roundTrip.reconnected();
  t.equal(roundTrip.timeout, 100);
  roundTrip.timedOut();
  roundTrip.sample(20);
  t.equal(roundTrip.timeout, 20 + 4 * 15);
});
