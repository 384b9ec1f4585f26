import t from 'tap';
import { Alarm } from '../../src/ssm/alarm.ts';
import { ManualClock } from './manual-clock.ts';

function start() {
  const clock = new ManualClock();
  const rings: number[] = [];
  const began = clock.now();
  const alarm = new Alarm(clock, () => rings.push(clock.now() - began));
  return { clock, rings, set: (ms: number) => alarm.set(began + ms), alarm };
}

t.test('it rings once, at the deadline; a deadline that has passed is at once', (t) => {
  const { clock, rings, set } = start();
  set(10);
  clock.advance(9);
  t.strictSame(rings, []);
  clock.advance(100);
  t.strictSame(rings, [10]);
  set(50);
  clock.advance(0);
  t.strictSame(rings, [10, 109]);
  t.end();
});

t.test('a deadline that moves away, or is none any more, keeps the timer', (t) => {
  const { clock, rings, set } = start();
  set(10);
  set(20);
  set(Number.POSITIVE_INFINITY);
  t.equal(clock.pending, 1);
  clock.advance(10);
  t.strictSame(rings, [10], 'too early rather than a timer more');
  clock.advance(100);
  t.strictSame(rings, [10], 'and then never');
  t.end();
});

t.test('a nearer deadline comes in front of the one that is set, which stays', (t) => {
  const { clock, rings, set } = start();
  set(100);
  for (const ms of [4, 14, 24]) {
    set(ms);
    set(100);
    t.equal(clock.pending, 2);
    clock.advance(10);
  }
  t.strictSame(rings, [4, 14, 24]);
  clock.advance(100);
  t.strictSame(rings, [4, 14, 24, 100]);
  t.end();
});

t.test('two timers at most', (t) => {
  const { clock, rings, set } = start();
  set(100);
  set(50);
  set(10);
  t.equal(clock.pending, 2);
  clock.advance(200);
  t.strictSame(rings, [10, 100], 'whoever set the one between sets it again');
  t.equal(clock.pending, 0);
  t.end();
});

t.test('timers that ring in another order are told apart', (t) => {
  const timers: (() => void)[] = [];
  let cancelled = 0;
  let rings = 0;
  const clock = {
    now: () => 0,
    wallTime: () => 0,
    after(_ms: number, callback: () => void) {
      timers.push(callback);
      return { cancel: () => cancelled++ };
    },
  };
  const alarm = new Alarm(clock, () => rings++);
  alarm.set(2);
  alarm.set(1);
  timers[0]!();
  t.equal(rings, 1);
  alarm.set(1);
  t.equal(timers.length, 2, 'the nearer is still set');
  alarm.cancel();
  t.equal(cancelled, 1);
  t.end();
});

t.test('cancelled, it never rings', (t) => {
  const { clock, rings, set, alarm } = start();
  set(20);
  set(10);
  alarm.cancel();
  alarm.cancel();
  t.equal(clock.pending, 0);
  clock.advance(100);
  t.strictSame(rings, []);
  set(130);
  clock.advance(100);
  t.strictSame(rings, [130], 'until it is set again');
  t.end();
});
