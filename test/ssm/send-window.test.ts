// What lines of all kinds make of it: test/sim/traffic.test.ts.
import t from 'tap';
import { initialWindowBytes, SendWindow } from '../../src/ssm/send-window.ts';

const messageBytes = 1000;

/** A producer with messages without end in front of a line: as many as the window lets through. */
class Upload {
  now = 0;
  base: number;
  readonly window: SendWindow;
  readonly #perMs: number;
  #sent: { sentAt: number; arrivesAt: number; deliveredBefore: number }[] = [];
  #freeAt = 0;

  constructor(base: number, perMs: number, epoch = 0) {
    this.base = base;
    this.#perMs = perMs;
    this.window = new SendWindow(epoch);
  }

  get outstanding(): number {
    return this.#sent.length * messageBytes;
  }

  /** How much of the line's time is taken already. */
  get queueMs(): number {
    return Math.max(0, this.#freeAt - this.now);
  }

  /** @param busy whether there is always more to send; else a message each time the last one has arrived */
  runUntil(end: number, busy = true): void {
    while (this.now < end) {
      while (this.outstanding < (busy ? this.window.bytes : 1)) {
        this.#freeAt = Math.max(this.now, this.#freeAt) + messageBytes / this.#perMs;
        const { delivered } = this.window;
        this.#sent.push({ sentAt: this.now, arrivesAt: this.#freeAt + this.base, deliveredBefore: delivered });
        this.window.sent(this.outstanding, this.now);
      }
      if (busy) this.window.limited();
      const { sentAt, arrivesAt, deliveredBefore } = this.#sent.shift()!;
      this.now = arrivesAt;
      this.window.acknowledged({ bytes: messageBytes, sentAt, deliveredBefore }, this.now);
    }
  }
}

t.test('it begins with 16 KiB and doubles in a round trip while there is no queue', async (t) => {
  const upload = new Upload(100, 10_000);
  t.equal(upload.window.bytes, initialWindowBytes);
  for (const [roundTrips, factor] of [
    [1, 2],
    [2, 4],
    [3, 8],
  ] as const) {
    upload.runUntil(roundTrips * 100 + 50);
    t.ok(Math.abs(upload.window.bytes / initialWindowBytes - factor) < 0.5, String(upload.window.bytes));
  }
});

t.test('then it keeps the queue at its target, which is longer on a slow line', async (t) => {
  for (const [perMs, targetMs] of [
    [50, 91],
    [500, 42],
    [5000, 27],
  ] as const) {
    const upload = new Upload(20, perMs);
    upload.runUntil(8_000);
    t.equal(Math.round(upload.window.targetMs), targetMs);
    t.ok(Math.abs(upload.queueMs - targetMs) < 25, `${upload.queueMs}`);
    t.ok(Math.abs(upload.window.rate / perMs - 1) < 0.2, `${upload.window.rate}`);
  }
});

t.test('a window that nobody fills does not grow', async (t) => {
  const upload = new Upload(20, 1_000);
  upload.runUntil(5_000, false);
  t.equal(upload.window.bytes, initialWindowBytes);
});

t.test('what was not used for a second is given up', async (t) => {
  const upload = new Upload(100, 5_000);
  upload.runUntil(3_000);
  t.ok(upload.window.bytes > 500_000);
  upload.runUntil(7_000, false);
  t.ok(upload.window.bytes < 2 * initialWindowBytes, String(upload.window.bytes));
});

t.test('at ten seconds of wall time the line is emptied, whenever the tunnel began', async (t) => {
  for (const startedAt of [0, 3_000, 8_000]) {
    const upload = new Upload(40, 500, 1_700_000_000_000 + startedAt);
    upload.runUntil(10_000 - startedAt);
    t.ok(upload.queueMs > 30);
    let shortest = Infinity;
    for (let at = 10_000 - startedAt; at < 10_300 - startedAt; at += 5) {
      upload.runUntil(at);
      shortest = Math.min(shortest, upload.queueMs);
    }
    t.ok(shortest < 5, `${shortest} ms`);
    upload.runUntil(10_800 - startedAt);
    t.ok(upload.queueMs > 30, 'and filled again');
  }
});

t.test('the round trip that is found then is the base, be it longer than before', async (t) => {
  const upload = new Upload(20, 500);
  upload.runUntil(5_000);
  upload.base = 150;
  upload.runUntil(9_000);
  t.equal(upload.queueMs, 0, 'at first it is taken for a queue');
  upload.runUntil(13_000);
  t.ok(upload.queueMs > 30);
});

t.test('resent messages are delivered and measure nothing', async (t) => {
  const window = new SendWindow(0);
  window.acknowledged({ bytes: 1000, sentAt: undefined, deliveredBefore: 0 }, 10);
  t.equal(window.delivered, 1000);
  t.equal(window.rate, 0);
  t.equal(window.bytes, initialWindowBytes);
});
