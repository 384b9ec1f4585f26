import t from 'tap';
import { type Arrival, Incoming } from '../../src/ssm/incoming.ts';
import { parseMessage } from '../../src/ssm/message.ts';
import { output } from './peer.ts';

function arrive(incoming: Incoming, number: number, bytes = 1): Arrival {
  return incoming.receive(parseMessage(output(number, 'x'.repeat(bytes))));
}

function taken(incoming: Incoming): number[] {
  const numbers: number[] = [];
  for (let message = incoming.take(); message !== undefined; message = incoming.take()) {
    numbers.push(message.sequenceNumber);
  }
  return numbers;
}

t.test('arrivals and what they release', async (t) => {
  const incoming = new Incoming();
  const table: [number, Arrival, number[]][] = [
    [0, 'next', []],
    [0, 'duplicate', []],
    [2, 'ahead', []],
    [2, 'duplicate', []],
    [3, 'ahead', []],
    [5, 'ahead', []],
    [1, 'next', [2, 3]],
    [3, 'duplicate', []],
    [4, 'next', [5]],
    [6, 'next', []],
  ];
  for (const [number, arrival, released] of table) {
    t.equal(arrive(incoming, number), arrival, `${number}`);
    t.strictSame(taken(incoming), released, `after ${number}`);
  }
  t.equal(incoming.expected, 7);
});

t.test('what has come early is kept, whatever becomes of the bytes that it came in', async (t) => {
  const incoming = new Incoming();
  const read = output(1, 'early');
  incoming.receive(parseMessage(read));
  read.fill(0xff);
  arrive(incoming, 0);
  const message = incoming.take()!;
  t.equal(message.payload.toString(), 'early');
  t.equal(message.sequenceNumber, 1);
  t.ok(message.digestMatches());
});

t.test('a number below zero is no message', async (t) => {
  const bytes = output(0, 'x');
  bytes.writeBigInt64BE(-1n, 48);
  t.equal(new Incoming().receive(parseMessage(bytes)), 'dropped');
});

t.test('a gap is known until it is closed', async (t) => {
  const incoming = new Incoming();
  t.equal(incoming.hasGap, false);
  arrive(incoming, 1);
  t.equal(incoming.hasGap, true);
  arrive(incoming, 0);
  taken(incoming);
  t.equal(incoming.hasGap, false);
});

t.test('as many numbers ahead are kept as was said', async (t) => {
  for (const maxAhead of [1, 2, 10]) {
    const incoming = new Incoming(maxAhead);
    t.equal(arrive(incoming, maxAhead - 1), maxAhead === 1 ? 'next' : 'ahead');
    t.equal(arrive(incoming, incoming.expected + maxAhead), 'ahead');
    t.equal(arrive(incoming, incoming.expected + maxAhead + 1), 'dropped');
  }
});

t.test('as many bytes ahead are kept as was said, and come free again', async (t) => {
  const incoming = new Incoming(100, 30);
  t.equal(arrive(incoming, 1, 29), 'ahead');
  t.equal(arrive(incoming, 2, 2), 'dropped');
  t.equal(arrive(incoming, 2, 1), 'ahead');
  t.equal(arrive(incoming, 3, 1), 'dropped');
  t.equal(arrive(incoming, 0, 1000), 'next', 'what is expected is not kept, so any size will do');
  t.strictSame(taken(incoming), [1, 2]);
  t.equal(arrive(incoming, 4, 30), 'ahead');
});

t.test('an order far from right comes out right', async (t) => {
  const incoming = new Incoming();
  const delivered: number[] = [];
  for (let i = 999; i >= 0; i--) {
    const number = (i * 7) % 1000;
    if (arrive(incoming, number) === 'next') delivered.push(number);
    delivered.push(...taken(incoming));
  }
  t.strictSame(delivered, [...Array(1000).keys()]);
});
