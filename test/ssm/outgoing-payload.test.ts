// How large the payloads of the sending half grow, and what a gateway that refuses large ones costs.
import t, { type Test } from 'tap';
import { PayloadType, parseMessage } from '../../src/ssm/message.ts';
import type { Outgoing } from '../../src/ssm/outgoing.ts';
import { drain, open, sent, write } from './sender.ts';

t.test('payload size', async (t) => {
  const big = 4096;
  const probing = (t: Test): Outgoing => {
    const out = open({ maxPayloadBytes: big });
    write(out, Buffer.alloc(2 * big, 'x'));
    t.strictSame(sent(t, out, 0).slice(0, 3), [`size 0 ${big}`, 'data 1 1024', 'data 2 1024']);
    return out;
  };
  const sizes = (messages: string[]) => [...new Set(messages.map((words) => Number(words.split(' ')[2])))];

  t.test('grows only under a backlog of the full size', async (t) => {
    const out = open({ maxPayloadBytes: big });
    write(out, Buffer.alloc(big - 1));
    t.strictSame(sizes(sent(t, out, 0)), [1024, 1023]);
    write(out, Buffer.alloc(big));
    t.equal(sent(t, out, 0)[0], `size 4 ${big}`);
  });

  t.test('never grows where 1,024 bytes are the limit', async (t) => {
    const out = open({ maxPayloadBytes: 1024 });
    write(out, Buffer.alloc(10 * big));
    t.strictSame(sizes(sent(t, out, 0)), [1024]);
  });

  t.test('grows by one byte if so set', async (t) => {
    const out = open({ maxPayloadBytes: 1025 });
    write(out, Buffer.alloc(2 * 1025));
    t.strictSame(sent(t, out, 0), ['size 0 1025', 'data 1 1024', 'data 2 1024', 'data 3 "\\u0000\\u0000"']);
    out.acknowledge(0, 1);
    write(out, Buffer.alloc(1025));
    t.strictSame(sent(t, out, 1), ['data 4 1025']);
  });

  t.test('is tried by one message that carries none of the bytes', async (t) => {
    const out = probing(t);
    t.equal(out.waitingBytes, 0, 'data goes on behind it, 1,024 bytes at a time');
    const probe = parseMessage(out.next(300)!);
    t.equal(probe.payloadType, PayloadType.size);
    t.strictSame(JSON.parse(probe.payload.toString()), { cols: 80, rows: 24 });
  });

  t.test('has grown when that one is acknowledged', async (t) => {
    const out = probing(t);
    write(out, Buffer.alloc(1024, 'y'));
    t.strictSame(sizes(sent(t, out, 1)), [1024], 'not before');
    out.acknowledge(0, 2);
    write(out, Buffer.alloc(big + 5, 'z'));
    t.strictSame(sizes(sent(t, out, 3)), [big, Number.NaN]);
    t.equal(out.reconnected(1009), undefined, 'and that stays so');
  });

  t.test('is refused by close code 1009', async (t) => {
    const out = probing(t);
    const before = out.inFlightBytes;
    t.equal(out.reconnected(1009), 'payload-refused');
    t.equal(out.inFlightBytes, before - big + 21);
    const again = sent(t, out, 5);
    t.strictSame(again.slice(0, 2), ['size 0 21', 'data 1 1024'], 'short, under its own number');
    write(out, Buffer.alloc(big));
    t.strictSame(sizes(sent(t, out, 6)), [1024]);
    t.equal(out.reconnected(1009), undefined, 'reported once');
    for (let number = 0; !out.drained; number++) out.acknowledge(number, 7);
    t.equal(out.inFlightBytes, 0);
  });

  t.test('is refused when two sockets are lost over it', async (t) => {
    const out = probing(t);
    t.equal(out.reconnected(undefined), undefined);
    t.equal(sent(t, out, 5)[0], `size 0 ${big}`, 'the first time it goes as it is');
    t.equal(out.reconnected(1006), 'payload-refused');
    t.equal(sent(t, out, 9)[0], 'size 0 21');
  });

  t.test('is not refused by sockets it was not sent on', async (t) => {
    const out = probing(t);
    for (let i = 0; i < 5; i++) t.equal(out.reconnected(i === 0 ? undefined : 1009), undefined);
    sent(t, out, 5);
    t.equal(out.reconnected(undefined), 'payload-refused');
  });

  t.test('is not refused by "1000 Bye", nor by our own leaving', async (t) => {
    const out = probing(t);
    for (let now = 1; now < 6; now++) {
      t.equal(out.reconnected(1000), undefined);
      t.equal(sent(t, out, now)[0], `size 0 ${big}`);
    }
    t.equal(out.reconnected(undefined), undefined);
    t.equal(out.reconnected(undefined), undefined, 'and a "Bye" counts for no later cut');
  });

  t.test('a refused probe that the agent had after all doubles no byte', async (t) => {
    // The agent got the large probe, but both acknowledgements were lost with their sockets.
    const out = open({ maxPayloadBytes: big });
    const text = Buffer.from(Array.from({ length: 2 * big }, (_, i) => i % 251));
    write(out, text);
    const agent = new Map<number, Buffer>();
    const take = (messages: Buffer[]) => {
      for (const message of messages.map(parseMessage)) {
        if (!agent.has(message.sequenceNumber)) {
          agent.set(message.sequenceNumber, message.payloadType === PayloadType.output ? message.payload : Buffer.of());
        }
      }
    };
    take(drain(t, out, 0));
    out.reconnected(undefined);
    take(drain(t, out, 5));
    t.equal(out.reconnected(undefined), 'payload-refused');
    take(drain(t, out, 10));
    const got = [...agent.entries()].sort(([a], [b]) => a - b).map(([, payload]) => payload);
    t.ok(Buffer.concat(got).equals(text));
  });
});
