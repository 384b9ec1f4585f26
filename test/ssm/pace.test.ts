import t from 'tap';
import { Pace } from '../../src/ssm/pace.ts';

/** How many places can be taken at once. */
function places(pace: Pace, now: number): number {
  let taken = 0;
  while (pace.take(now)) taken++;
  return taken;
}

t.test('a twentieth of a second goes at once, then the rate holds', async (t) => {
  const pace = new Pace(900);
  t.equal(places(pace, 1000), 45);
  t.equal(places(pace, 1001), 0, 'a message needs 1.1 ms');
  t.equal(places(pace, 1002), 1);
  t.equal(places(pace, 1010), 8);
  t.equal(places(pace, 100_000), 45, 'and no more is saved up');
});

t.test('the rate is kept over a second, to one message', async (t) => {
  for (const perSecond of [10, 100, 900, 5000]) {
    const pace = new Pace(perSecond);
    places(pace, 0);
    let taken = 0;
    for (let now = 0; now <= 1000; now = Math.max(pace.readyAt(now), now + 0.01)) taken += places(pace, now);
    t.ok(Math.abs(taken - perSecond) <= 1, `${taken} of ${perSecond}`);
  }
});

t.test('readyAt is the very time at which take succeeds', async (t) => {
  for (const perSecond of [7, 30, 900, 999]) {
    const pace = new Pace(perSecond);
    let now = 12_345.678;
    let early = 0;
    for (let i = 0; i < 2000; i++) {
      if (i % 3 === 0) pace.note(now);
      const ready = pace.readyAt(now);
      if (ready > now && pace.take(now)) early++;
      now = ready;
      if (!pace.take(now)) t.fail(`not ready at ${now}`);
    }
    t.equal(early, 0);
  }
});

t.test('one message is always possible, however low the rate', async (t) => {
  const pace = new Pace(10);
  t.equal(places(pace, 0), 1);
  t.equal(pace.readyAt(0), 100);
});

t.test('acknowledgements slow data down, but never hold up a keystroke', async (t) => {
  const pace = new Pace(900);
  let longest = 0;
  for (let now = 0; now < 10_000; now++) {
    pace.note(now); // a download at 1,000 messages per second
    if (now % 50 === 0) {
      longest = Math.max(longest, pace.readyAt(now) - now);
      pace.take(now);
    }
  }
  t.equal(longest, 0);
});

t.test('a full download leaves an upload a quarter of the rate', async (t) => {
  for (const perSecond of [100, 900]) {
    const pace = new Pace(perSecond);
    places(pace, 0);
    let taken = 0;
    for (let now = 1; now <= 10_000; now++) {
      pace.note(now);
      taken += places(pace, now);
    }
    t.ok(Math.abs(taken / 10 - perSecond / 4) <= perSecond / 20, `${taken / 10} of ${perSecond}`);
  }
});

t.test('a download within the rate leaves an upload the rest', async (t) => {
  const pace = new Pace(900);
  places(pace, 0);
  let taken = 0;
  for (let now = 1; now <= 10_000; now++) {
    if (now % 2 === 0) pace.note(now);
    taken += places(pace, now);
  }
  t.ok(Math.abs(taken / 10 - 400) <= 5, String(taken / 10));
});

t.test('what acknowledgements owe is soon paid when they stop', async (t) => {
  const pace = new Pace(900);
  for (let i = 0; i < 100_000; i++) pace.note(0);
  places(pace, 0);
  t.equal(places(pace, 150), 45);
});

t.test('a clock that stands still or goes back gives nothing away', async (t) => {
  const pace = new Pace(900);
  places(pace, 1000);
  t.equal(places(pace, 1000), 0);
  t.equal(places(pace, 500), 0);
});
