import t from 'tap';
import { NetworkWatch } from '../src/network-watch.ts';
import { ManualClock } from './ssm/manual-clock.ts';

function setUp() {
  const clock = new ManualClock();
  const machine = { addresses: 'home', asked: 0 };
  const watch = new NetworkWatch(clock, () => {
    machine.asked += 1;
    return machine.addresses;
  });
  const seen: string[] = [];
  const add = (name: string) =>
    watch.add({ doubt: (why) => seen.push(`${name} ${why}`), hope: () => seen.push(`${name} hopes`) });
  return { clock, machine, watch, seen, add };
}

t.test('without anybody who is interested it does nothing', async (t) => {
  const { clock, machine, watch, add } = setUp();
  t.equal(clock.pending, 0);
  watch.glance();
  add('a').end();
  t.equal(clock.pending, 0);
  t.equal(machine.asked, 1);
});

t.test('it looks four times a minute, and every second while somebody waits for the network', async (t) => {
  const { clock, machine, add } = setUp();
  const watching = add('a');
  clock.advance(60_000);
  t.equal(machine.asked, 1 + 4);
  watching.seek(true);
  clock.advance(10_000);
  t.equal(machine.asked, 1 + 4 + 10);
  watching.seek(false);
  clock.advance(60_000);
  t.equal(machine.asked, 1 + 4 + 10 + 4);
  watching.end();
  watching.seek(true);
  t.equal(clock.pending, 0);
});

t.test('an address that comes or goes is told to all, once', async (t) => {
  const { clock, machine, seen, add } = setUp();
  add('a');
  add('b');
  machine.addresses = '';
  clock.advance(15_000);
  t.strictSame(seen.splice(0), ['a addresses-changed', 'b addresses-changed']);
  clock.advance(60_000);
  t.strictSame(seen, []);
  machine.addresses = 'office';
  clock.advance(15_000);
  t.equal(seen.length, 2);
});

t.test(
  'a sleep is seen by the wall clock, a stop by timers that are late, each at the next look or glance',
  async (t) => {
    const { clock, watch, seen, add } = setUp();
    add('a');
    for (const upset of [() => clock.sleep(60_000), () => clock.stop(60_000), () => clock.sleep(-60_000)]) {
      clock.advance(1_000);
      watch.glance();
      t.strictSame(seen, []);
      upset();
      watch.glance();
      t.strictSame(seen.splice(0), ['a stood-still']);
      watch.glance();
      upset();
      clock.advance(15_000);
      t.strictSame(seen.splice(0), ['a stood-still']);
    }
    clock.sleep(2_000);
    watch.glance();
    t.strictSame(seen, [], 'a clock may be corrected a little');
  },
);

t.test('who gets through gives hope to those who wait, and to no other', async (t) => {
  const { seen, add } = setUp();
  const [a, b] = [add('a'), add('b')];
  add('c');
  a.seek(true);
  b.seek(true);
  a.reached();
  t.strictSame(seen, ['b hopes']);
});
