import t from 'tap';
import { Delivery } from '../../src/ssm/delivery.ts';

function start() {
  const calls: number[] = [];
  let text = '';
  const delivery = new Delivery((bytes) => {
    calls.push(bytes.length);
    text += bytes;
  });
  let taken = '';
  let letter = 0;
  const take = (length: number, now = 0) => {
    const bytes = Buffer.alloc(length, 'abcdefghijklmnopqrstuvwxyz'[letter++ % 26]);
    taken += bytes;
    delivery.take(bytes, now);
    bytes.fill('!'); // the caller's again
    return calls.splice(0);
  };
  const transfer = (length: number, now = 0) => {
    for (let at = 0; at < 16; at++) take(length, now);
  };
  const same = () => text === taken;
  return { delivery, calls, take, transfer, same };
}

t.test('what has come goes on at once; in a transfer, after 4 ms', (t) => {
  const { delivery, calls, take, same } = start();
  t.strictSame(take(5), [5]);
  for (let at = 0; at < 16; at++) t.strictSame(take(1024), [1024], 'at once');
  t.equal(delivery.dueAt, Number.POSITIVE_INFINITY);

  t.strictSame(take(1024, 100), [], 'now it is a transfer');
  t.strictSame(take(1024, 103), []);
  t.equal(delivery.dueAt, 104, 'by the first');
  delivery.flush();
  t.strictSame(calls.splice(0), [2048], 'together');
  t.equal(delivery.dueAt, Number.POSITIVE_INFINITY);
  delivery.flush();
  t.strictSame(calls, [], 'nothing twice');

  t.strictSame(take(1024, 110), []);
  t.equal(delivery.dueAt, 114);
  t.strictSame(take(700, 111), [1024, 700], 'a shorter one takes all with it, in order');
  t.equal(delivery.dueAt, Number.POSITIVE_INFINITY);
  t.ok(same(), 'the same bytes');
  t.end();
});

t.test('what may be an answer never waits', (t) => {
  const { take, same } = start();
  for (let at = 0; at < 40; at++) t.strictSame(take(1023), [1023], 'shorter than the agent cuts');
  for (let at = 0; at < 40; at++) t.strictSame(take(1024 + (at % 2)), [1024 + (at % 2)], 'of more than one size');
  for (let at = 0; at < 40; at++) t.strictSame(take(16_384), [16_384], 'long enough for a way of its own');
  t.ok(same());
  t.end();
});

t.test('what waits is bounded, also where nobody flushes', (t) => {
  for (const length of [1024, 1500, 8192]) {
    const { delivery, calls, take, transfer, same } = start();
    transfer(length);
    let most = 0;
    let waiting = 0;
    for (let at = 0; at < 100; at++) {
      waiting += length - take(length).reduce((sum, each) => sum + each, 0);
      most = Math.max(most, waiting);
    }
    t.ok(most <= 32 * 1024, `${most} bytes`);
    t.ok(most > 32 * 1024 - length, `room is used: ${most} bytes`);
    delivery.flush();
    t.strictSame(calls, [waiting]);
    t.ok(same());
  }
  t.end();
});

t.test('what was handed on is not written to again', (t) => {
  const parts: Buffer[] = [];
  const delivery = new Delivery((bytes) => parts.push(bytes));
  const sent: Buffer[] = [];
  for (let at = 0; at < 500; at++) {
    const bytes = Buffer.alloc(1024, at);
    sent.push(bytes);
    delivery.take(bytes, at);
    if (at % 3 === 0) delivery.flush();
  }
  delivery.flush();
  t.ok(Buffer.concat(parts).equals(Buffer.concat(sent)));
  t.end();
});
