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

t.test('a later deadline keeps the timer, a nearer one moves it', (t) => {
  const { clock, rings, set } = start();
  set(10);
  set(20);
  clock.advance(10);
  t.strictSame(rings, [10], 'too early rather than a timer more');
  set(30);
  set(15);
  clock.advance(5);
  t.strictSame(rings, [10, 15]);
  t.equal(clock.pending, 0, 'one timer at most');
  t.end();
});

t.test('never', (t) => {
  const { clock, rings, set, alarm } = start();
  set(10);
  set(Number.POSITIVE_INFINITY);
  t.equal(clock.pending, 0);
  set(10);
  alarm.cancel();
  alarm.cancel();
  t.equal(clock.pending, 0);
  clock.advance(100);
  t.strictSame(rings, []);
  t.end();
});
