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
  // The first sample replaces the assumed round trip of 100 ms; |100 − 260| / 4 is the variation.
  const roundTrip = sampled(260);
  t.equal(roundTrip.smoothed, 260);
  t.equal(roundTrip.timeout, 260 + 4 * 40);
  roundTrip.sample(340);
  const variation = 0.75 * 40 + 0.25 * 80;
  t.equal(roundTrip.smoothed, 0.875 * 260 + 0.125 * 340);
  t.equal(roundTrip.timeout, 270 + 4 * variation);
});

t.test('steady samples bring it down to 100 ms more than they are', async (t) => {
  const roundTrip = sampled(...Array(200).fill(40));
  t.ok(Math.abs(roundTrip.timeout - 140) < 0.001);
  t.ok(Math.abs(roundTrip.reorderWait - 50) < 0.001);
});

t.test('the timeout is at most 5 s', async (t) => {
  t.equal(sampled(60_000).timeout, 5000);
  t.equal(sampled(60_000).reorderWait, 5000);
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

t.test('a resent message leaves as much backoff as its first transmission may have needed', async (t) => {
  const roundTrip = new RoundTrip();
  for (let i = 0; i < 3; i++) roundTrip.timedOut();
  t.equal(roundTrip.timeout, 1600);
  roundTrip.acknowledgedAfter(5000);
  t.equal(roundTrip.timeout, 1600, 'never more than before');
  roundTrip.acknowledgedAfter(300);
  t.equal(roundTrip.timeout, 400);
  roundTrip.acknowledgedAfter(20);
  t.equal(roundTrip.timeout, 200, 'nor less than without any');
});

t.test('a sample or a new socket ends the backoff', async (t) => {
  const roundTrip = sampled(120);
  t.equal(roundTrip.timeout, 220);
  roundTrip.timedOut();
  t.equal(roundTrip.timeout, 440);
  roundTrip.reconnected();
  t.equal(roundTrip.timeout, 220);
  roundTrip.timedOut();
  roundTrip.sample(120);
  t.equal(roundTrip.timeout, 220);
});
