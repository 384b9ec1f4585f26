import t from 'tap';
import { ManualClock } from '../../manual-clock.ts';
import { type DirectionFaults, Faults, seededRandom } from './faults.ts';
import { Link } from './link.ts';

function join(faults: Partial<DirectionFaults>, seed = 1) {
  const clock = new ManualClock();
  const received: Buffer[] = [];
  const sink = { room: true };
  const { up } = new Faults({ up: faults });
  const link = new Link(up, seededRandom(seed), clock, (message) => {
    received.push(message);
    return sink.room;
  });
  const numbers = () => received.map((message) => message.readUInt32BE(0));
  return { link, clock, received, sink, numbers, faults: up };
}

function numbered(number: number, size = 200): Buffer {
  const message = Buffer.alloc(size);
  message.writeUInt32BE(number);
  return message;
}

function range(length: number): number[] {
  return Array.from({ length }, (_, at) => at);
}

t.test('without faults a message is through in the same turn, the very same buffer', async (t) => {
  const { link, received, clock } = join({});
  const message = numbered(7);
  t.ok(link.push(message));
  t.equal(received[0], message);
  t.equal(clock.pending, 0);
});

t.test('about the share asked for is lost, the rest in order', async (t) => {
  const { link, numbers } = join({ lose: 0.1 });
  for (const number of range(10_000)) link.push(numbered(number));
  const lost = 10_000 - numbers().length;
  t.ok(lost > 850 && lost < 1150, `${lost} of 10,000`);
  t.same(
    numbers(),
    [...numbers()].sort((a, b) => a - b),
  );
});

t.test('shares are of the messages that they are said to be of, and those that met one are counted', async (t) => {
  const data = numbered(1);
  const acknowledgement = numbered(2);
  acknowledgement.write('acknowledge'.padEnd(32), 4);
  for (const [of, through] of [
    ['all', []],
    ['data', [2]],
    ['acknowledgements', [1]],
  ] as const) {
    const { link, numbers, faults } = join({ lose: 1, of });
    for (const message of [data, acknowledgement]) link.push(message);
    t.same(numbers(), through, of);
    t.equal(faults.struck, 2 - through.length);
  }
});

t.test('about the share asked for comes twice, one after the other', async (t) => {
  const { link, numbers } = join({ double: 0.05 });
  for (const number of range(10_000)) link.push(numbered(number));
  const doubled = numbers().length - 10_000;
  t.ok(doubled > 400 && doubled < 600, `${doubled} of 10,000`);
  t.same([...new Set(numbers())], range(10_000));
});

t.test('about the share asked for is overtaken, by no more than three each, and none is lost', async (t) => {
  const { link, numbers, clock } = join({ reorder: 0.05 });
  for (const number of range(10_000)) link.push(numbered(number));
  await clock.advance(50);
  t.same(
    [...numbers()].sort((a, b) => a - b),
    range(10_000),
  );
  const late = numbers().filter((number, at, all) => number < Math.max(...all.slice(Math.max(0, at - 8), at)));
  t.ok(late.length > 400 && late.length < 600, `${late.length} of 10,000`);
  t.equal(clock.pending, 0);
});

t.test('an overtaken message does not wait for another one for ever', async (t) => {
  const { link, numbers, clock } = join({ reorder: 1 });
  link.push(numbered(1));
  t.same(numbers(), []);
  await clock.advance(50);
  t.same(numbers(), [1]);
});

t.test('a corrupted message differs in one bit of its payload, and the original is untouched', async (t) => {
  const { link, received } = join({ corrupt: 1 });
  const message = Buffer.alloc(200);
  link.push(message);
  t.ok(message.equals(Buffer.alloc(200)));
  const changed = [...received[0]!.entries()].filter(([, byte]) => byte !== 0);
  t.equal(changed.length, 1);
  const [at, byte] = changed[0]!;
  t.ok(at >= 120);
  t.ok([1, 2, 4, 8, 16, 32, 64, 128].includes(byte));
});

t.test('the same seed does the same, another seed something else', async (t) => {
  const run = (seed: number) => {
    const { link, numbers } = join({ lose: 0.2, double: 0.2, reorder: 0.2 }, seed);
    for (const number of range(100)) link.push(numbered(number));
    return numbers();
  };
  t.same(run(1), run(1));
  t.notSame(run(1), run(2));
});

t.test('a delay keeps the order and holds each message that long', async (t) => {
  const { link, clock, numbers } = join({ delayMs: 20 });
  link.push(numbered(1));
  await clock.advance(10);
  link.push(numbered(2));
  await clock.advance(9);
  t.same(numbers(), []);
  await clock.advance(1);
  t.same(numbers(), [1]);
  await clock.advance(10);
  t.same(numbers(), [1, 2]);
});

t.test('a rate limit lets that many bytes through in a second, and stops the source', async (t) => {
  const { link, clock, received } = join({ bytesPerSecond: 100_000 });
  let drained = 0;
  link.onDrain = () => {
    drained += 1;
  };
  let pushed = 0;
  while (link.push(numbered(pushed, 1000))) pushed += 1;
  t.ok(pushed > 1000 && pushed < 1100, `${pushed} messages of 1,000 bytes held`);
  await clock.advance(1000);
  t.equal(received.length, 100);
  t.ok(drained > 0);
});

t.test('sessions with the same faults share the line, first come, first served', async (t) => {
  const clock = new ManualClock();
  const { up } = new Faults({ up: { bytesPerSecond: 100_000 } });
  const arrived: string[] = [];
  const [bulk, keys] = ['bulk', 'key'].map(
    (name) => new Link(up, seededRandom(1), clock, () => arrived.push(`${name} ${clock.now()}`) > 0),
  );
  for (let at = 0; at < 3; at++) bulk!.push(numbered(at, 1000));
  keys!.push(numbered(0, 100));
  await clock.advance(100);
  t.same(arrived, ['bulk 10', 'bulk 20', 'bulk 30', 'key 31']);
});

t.test('a sink that is full stops the source; room starts it again, in order', async (t) => {
  const { link, sink, numbers } = join({});
  let drained = 0;
  link.onDrain = () => {
    drained += 1;
  };
  sink.room = false;
  t.notOk(link.push(numbered(1)));
  t.notOk(link.push(numbered(2)));
  t.same(numbers(), [1]);
  t.equal(drained, 0);
  sink.room = true;
  link.resume();
  t.same(numbers(), [1, 2]);
  t.equal(drained, 1);
});

t.test("the gateway's own messages are behind what was held back, and escape chance", async (t) => {
  const { link, numbers } = join({ reorder: 1 });
  link.push(numbered(1));
  link.pushInOrder(numbered(2));
  t.same(numbers(), [1, 2]);
  const losing = join({ lose: 1, double: 1, corrupt: 1 });
  losing.link.pushInOrder(numbered(3));
  t.same(losing.numbers(), [3]);
});

t.test('a closed link holds nothing and does nothing', async (t) => {
  const { link, clock, received } = join({ delayMs: 10, reorder: 0.5 });
  for (const number of range(10)) link.push(numbered(number));
  link.close();
  t.ok(link.push(numbered(11)));
  t.equal(clock.pending, 0);
  t.same(received, []);
});
