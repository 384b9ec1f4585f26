import t from 'tap';
import { PayloadType, parseMessage } from '../../src/ssm/message.ts';
import { Pace } from '../../src/ssm/pace.ts';
import { inWords } from './peer.ts';
import { drain, open, outgoing, sent, write } from './sender.ts';

t.test('small writes leave at once, one message each while nothing waits', async (t) => {
  const out = open();
  write(out, 'a');
  t.strictSame(sent(t, out, 0), ['data 0 "a"']);
  write(out, 'bc');
  t.strictSame(sent(t, out, 0), ['data 1 "bc"'], 'without waiting for an acknowledgement');
});

t.test('what waits is joined and cut at 1,024 bytes', async (t) => {
  for (const [bytes, lengths] of [
    [1023, [1023]],
    [1024, [1024]],
    [1025, [1024, 1]],
    [2049, [1024, 1024, 1]],
  ] as const) {
    const out = open({ maxPayloadBytes: 32_768 });
    for (let at = 0; at < bytes; at++) write(out, 'x');
    t.strictSame(
      drain(t, out, 0).map((message) => message.length - 120),
      lengths,
    );
  }
});

t.test('no byte is lost or moved by cutting', async (t) => {
  const out = open({ maxPayloadBytes: 5 });
  const text = 'the quick brown fox jumps over the lazy dog';
  for (let at = 0; at < text.length; at += (at % 4) + 1) write(out, text.slice(at, at + (at % 4) + 1));
  const payloads = drain(t, out, 0).map((message) => parseMessage(message).payload);
  t.equal(Buffer.concat(payloads).toString(), text);
  t.ok(payloads.every(({ length }, i) => length === 5 || i === payloads.length - 1));
});

t.test('bytes are copied when they are numbered', async (t) => {
  const out = open();
  const bytes = Buffer.from('before');
  out.write(bytes, PayloadType.output);
  const message = out.next(0)!;
  bytes.fill('!');
  t.equal(inWords(message), 'data 0 "before"');
  t.equal(inWords(out.next(200)!), 'data 0 "before"', 'also when it is sent again');
});

t.test('before HandshakeComplete nothing but the handshake response leaves', async (t) => {
  const out = outgoing();
  write(out, 'early');
  out.write(Buffer.from('00000002', 'hex'), PayloadType.flag);
  t.strictSame(sent(t, out, 0), []);
  t.equal(out.deadline(0), undefined, 'and there is nothing to wait for');
  out.write(Buffer.from('{}'), PayloadType.handshakeResponse);
  t.strictSame(sent(t, out, 0), ['answer 0'], 'which does not wait behind early data');
  t.strictSame(sent(t, out, 200), ['answer 0']);
  out.allowData(0);
  t.strictSame(sent(t, out, 200), ['data 1 "early"', 'flag 2 00000002']);
});

t.test('messages of other types keep their place and are never joined', async (t) => {
  const out = open();
  write(out, 'a');
  write(out, 'b');
  out.write(Buffer.from('00000002', 'hex'), PayloadType.flag);
  t.strictSame(sent(t, out, 0), ['data 0 "ab"', 'flag 1 00000002']);
});

t.test('an empty write is no message', async (t) => {
  const out = open();
  write(out, '');
  t.strictSame(sent(t, out, 0), []);
  t.equal(out.drained, true);
});

t.test('drained and delivered: everything, and all output, acknowledged', async (t) => {
  const out = open();
  t.strictSame([out.drained, out.delivered], [true, true]);
  write(out, 'a');
  t.strictSame([out.drained, out.delivered, out.waitingBytes, out.inFlightBytes], [false, false, 1, 0]);
  sent(t, out, 0);
  t.strictSame([out.drained, out.delivered, out.waitingBytes, out.inFlightBytes], [false, false, 0, 1]);
  out.write(Buffer.from('00000002', 'hex'), PayloadType.flag);
  sent(t, out, 0);
  out.acknowledge(0, 1);
  t.strictSame([out.drained, out.delivered], [false, true], 'the flag is on its way');
  out.acknowledge(1, 1);
  t.strictSame([out.drained, out.delivered, out.inFlightBytes], [true, true, 0]);
});

t.test('an acknowledgement of anything else changes nothing', async (t) => {
  const out = open();
  write(out, 'a');
  sent(t, out, 0);
  for (const number of [-1, 1, 2 ** 40, Number.NaN]) t.equal(out.acknowledge(number, 1), false, String(number));
  t.equal(out.acknowledge(0, 1), true);
  t.equal(out.acknowledge(0, 1), false, 'nor a second one');
});

t.test('a full window of messages blocks, and evicts nothing', async (t) => {
  const out = open({ windowMessages: 3 });
  for (const text of 'abcde') {
    write(out, text);
    drain(t, out, 0);
  }
  t.equal(out.inFlightBytes, 3);
  t.equal(out.waitingBytes, 2);
  out.acknowledge(1, 1);
  t.strictSame(sent(t, out, 1), [], 'a gap holds its place: the agent has to keep what is behind it');
  out.acknowledge(0, 1);
  t.strictSame(sent(t, out, 1), ['data 3 "de"'], 'the two in front have made room');
});

t.test('a full window of bytes blocks at its limit', async (t) => {
  for (const [windowBytes, messages] of [
    [2047, 2],
    [2048, 2],
    [2049, 3],
  ] as const) {
    const out = open({ windowBytes });
    write(out, Buffer.alloc(10_000));
    t.equal(drain(t, out, 0).length, messages, String(windowBytes));
  }
});

t.test('a gap that never closes holds a bounded number of messages', async (t) => {
  const out = open({ windowMessages: 50 });
  for (let now = 0; now < 2000; now++) {
    write(out, 'x');
    for (const message of drain(t, out, now)) {
      const { sequenceNumber } = parseMessage(message);
      if (sequenceNumber !== 7) out.acknowledge(sequenceNumber, now + 0.5);
    }
  }
  t.equal(out.inFlightBytes, 50);
});

t.test('only the oldest is resent by timeout, with the same bytes, and backs off', async (t) => {
  const out = open();
  write(out, 'a');
  const first = drain(t, out, 0)[0]!;
  write(out, 'b');
  sent(t, out, 1);
  t.equal(out.deadline(1), 200);
  t.strictSame(sent(t, out, 199.9), []);
  const again = drain(t, out, 200);
  t.equal(again.length, 1);
  t.ok(again[0]!.equals(first));
  const times = [];
  for (let now = out.deadline(200)!; times.length < 6; now = out.deadline(now)!) {
    times.push(now);
    t.strictSame(sent(t, out, now), ['data 0 "a"']);
  }
  t.strictSame(times, [600, 1400, 3000, 6200, 11_200, 16_200]);
});

t.test('the deadline is the very time of the resend, whatever the fractions', async (t) => {
  for (let i = 0; i < 300; i++) {
    const start = 1234.1 * i + 0.3;
    const out = open();
    write(out, 'a');
    write(out, 'b');
    sent(t, out, start);
    out.acknowledge(0, start + 0.1 + i / 7);
    write(out, 'c');
    sent(t, out, start + 60 + i / 3);
    const deadline = out.deadline(start + 60 + i / 3)!;
    if (sent(t, out, deadline).length !== 1) t.fail(`nothing at ${deadline}`);
  }
});

t.test('an acknowledgement of a resent message is no measurement and leaves backoff', async (t) => {
  const out = open();
  write(out, 'a');
  sent(t, out, 0);
  sent(t, out, 200);
  sent(t, out, 600);
  out.acknowledge(0, 601);
  t.equal(out.roundTrip.smoothed, undefined);
  write(out, 'b');
  sent(t, out, 1000);
  t.equal(out.deadline(1000), 1000 + 601 + 100);
  out.acknowledge(1, 1300);
  t.equal(out.roundTrip.smoothed, 300);
  write(out, 'c');
  sent(t, out, 2000);
  t.equal(out.deadline(2000), 2500, '300 + 4 · (|100 − 300| / 4)');
});

t.test('a path that got slower than the timeout is not flooded for ever', async (t) => {
  const out = open();
  let now = 0;
  /** One message over a path of the given round trip: how often it was sent. */
  const transmissions = (roundTripMs: number): number => {
    write(out, 'x');
    const first = now;
    let count = 0;
    while (!out.drained) {
      const messages = drain(t, out, now);
      count += messages.length;
      now = Math.min(out.deadline(now)!, first + roundTripMs);
      if (now === first + roundTripMs) out.acknowledge(parseMessage(messages[0] ?? last).sequenceNumber, now);
      last = messages[0] ?? last;
    }
    return count;
  };
  let last: Buffer = Buffer.alloc(0);
  for (let i = 0; i < 50; i++) t.equal(transmissions(20), 1);
  t.ok(transmissions(900) > 2, 'at first it is taken for lost');
  for (let i = 0; i < 20; i++) t.ok(transmissions(900) <= 3, 'then at most two too many');
});

t.test('an outage: the oldest alone is tried, and when it has arrived the others follow together', async (t) => {
  const out = open();
  for (let i = 0; i < 10; i++) {
    write(out, 'x');
    sent(t, out, 0);
  }
  let now = 0;
  for (let i = 0; i < 8; i++) {
    now = out.deadline(now)!;
    t.strictSame(sent(t, out, now), ['data 0 "x"']);
  }
  t.equal(out.roundTrip.timeout, 5000);
  out.acknowledge(0, now + 20);
  t.equal(out.deadline(now + 20), now + 20 + 110, 'unless they arrived as well, which a round trip will show');
  t.equal(sent(t, out, now + 130).length, 9);
  t.equal(out.deadline(now + 130), now + 130 + 5000, 'nothing has been measured');
});

t.test('a stall costs no more than the resends of the oldest', async (t) => {
  const out = open();
  for (let i = 0; i < 10; i++) {
    write(out, 'x');
    sent(t, out, 0);
  }
  t.strictSame(sent(t, out, 200), ['data 0 "x"']);
  // Everything arrived, late. The first acknowledgement may be that of either.
  out.acknowledge(0, 300);
  t.strictSame(sent(t, out, 300), []);
  for (let number = 1; number < 5; number++) out.acknowledge(number, 301);
  t.strictSame(sent(t, out, 450), []);
  t.ok(out.deadline(450)! > 600, 'what was acknowledged was sent once, so that its time is a measure');
});

t.test('a message is taken for lost when three behind it arrived, once the reordering is over', async (t) => {
  for (const [behind, lost] of [
    [2, []],
    [3, ['data 1 "x"']],
    [4, ['data 1 "x"', 'data 2 "x"']],
  ] as const) {
    const out = open();
    for (let i = 0; i < 8; i++) {
      write(out, 'x');
      sent(t, out, 0);
    }
    out.acknowledge(0, 20);
    out.acknowledge(1 + behind, 20);
    const { reorderWait, timeout } = out.roundTrip;
    t.ok(reorderWait < timeout / 2);
    t.equal(out.deadline(20), lost.length > 0 ? reorderWait : 20 + timeout, `${behind} behind`);
    t.strictSame(sent(t, out, reorderWait), lost);
  }
});

t.test('several lost messages are resent together and not one per timeout', async (t) => {
  const out = open();
  for (let i = 0; i < 14; i++) {
    write(out, 'x');
    sent(t, out, 0);
  }
  for (const number of [0, 1, 4, 5, 8, 9, 10, 11, 12, 13]) out.acknowledge(number, 20);
  t.equal(out.deadline(20), 30);
  t.strictSame(sent(t, out, 30), ['data 2 "x"', 'data 3 "x"', 'data 6 "x"', 'data 7 "x"']);
  t.equal(out.deadline(30), 30 + out.roundTrip.timeout, 'a second time only after the timeout, the oldest alone');
  for (let i = 0; i < 3; i++) {
    write(out, 'y');
    sent(t, out, 31);
  }
  for (const number of [14, 15, 16]) out.acknowledge(number, 55);
  t.equal(out.deadline(55), 30 + out.roundTrip.reorderWait, 'or when what was sent behind them has arrived');
  t.strictSame(sent(t, out, 62), ['data 2 "x"', 'data 3 "x"', 'data 6 "x"', 'data 7 "x"']);
});

t.test('the first output proves that what the dialling agent refused is to be sent again', async (t) => {
  const out = open();
  out.write(Buffer.from('{}'), PayloadType.handshakeResponse);
  sent(t, out, 0);
  out.acknowledge(0, 20);
  write(out, 'SSH-2.0-x\r\n');
  sent(t, out, 25);
  write(out, 'kex');
  sent(t, out, 26);
  t.equal(out.deadline(30), 25 + 20 + 100, 'by timeout otherwise');
  out.peerIsReady();
  t.equal(out.deadline(50), 55, 'a round trip and 10 ms after it was sent');
  t.strictSame(sent(t, out, 55), ['data 1 "SSH-2.0-x\\r\\n"']);
  t.strictSame(sent(t, out, 56), ['data 2 "kex"']);
  write(out, 'later');
  t.strictSame(sent(t, out, 57), ['data 3 "later"']);
  out.acknowledge(1, 70);
  out.acknowledge(2, 70);
  t.equal(out.deadline(70), 70 + 120, 'what was sent after it waits for its timeout');
});

t.test('after a reconnect everything unacknowledged goes again, same bytes, oldest first', async (t) => {
  const out = open();
  const first: Buffer[] = [];
  for (const text of 'abcde') {
    write(out, text);
    first.push(...drain(t, out, 0));
  }
  out.acknowledge(1, 5);
  out.acknowledge(3, 5);
  write(out, 'f');
  t.equal(out.reconnected(undefined), undefined);
  t.equal(out.deadline(10), 10);
  const again = drain(t, out, 10);
  t.strictSame(again.map(inWords), ['data 0 "a"', 'data 2 "c"', 'data 4 "e"', 'data 5 "f"']);
  for (const number of [0, 2, 4]) t.ok(again[number / 2]!.equals(first[number]!));
});

t.test('what is acknowledged while it waits to be sent again is not, and leaves no deadline behind', async (t) => {
  const out = open();
  for (const text of 'ab') {
    write(out, text);
    sent(t, out, 0);
  }
  out.reconnected(undefined);
  out.acknowledge(0, 1);
  out.acknowledge(1, 1);
  t.equal(out.deadline(1), undefined);
  t.strictSame(sent(t, out, 1), []);
});

t.test('the pace holds for what is new and what is sent again', async (t) => {
  const out = open({ pace: new Pace(40) });
  write(out, Buffer.alloc(4096));
  t.equal(drain(t, out, 0).length, 2, 'a burst of 40 / 20');
  t.equal(out.deadline(0), 25);
  t.equal(drain(t, out, 25).length, 1);
  out.reconnected(undefined);
  t.equal(drain(t, out, 49).length, 0);
  t.equal(drain(t, out, 50).length, 1);
});
