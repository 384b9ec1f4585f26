import t from 'tap';
import { systemClock } from '../src/clock.ts';

t.test('no timer is set for less than was asked: Node would cut off the fraction', (t) => {
  const real = globalThis.setTimeout;
  const asked: (number | undefined)[] = [];
  globalThis.setTimeout = ((callback: () => void, ms?: number) => {
    asked.push(ms);
    return real(callback, 0);
  }) as typeof setTimeout;
  t.teardown(() => {
    globalThis.setTimeout = real;
  });
  for (const ms of [3.98, 4, 0.01, 0]) systemClock.after(ms, () => {}).cancel();
  t.strictSame(asked, [4, 4, 1, 0]);
  t.end();
});

t.test('cancelled, it does not call back', (t) => {
  systemClock.after(0, () => t.fail('it did')).cancel();
  systemClock.after(1, () => t.end());
});
