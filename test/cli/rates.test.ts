import t from 'tap';
import { Rates } from '../../src/cli/rates.ts';

t.test('a rate is what came since the last look', async (t) => {
  const rates = new Rates();
  const look = (bytesSent: number, bytesReceived: number, now: number) =>
    rates.of('x', { bytesSent, bytesReceived }, now);
  t.equal(look(1_000, 0, 0), undefined, 'unknown at first');
  t.same(look(3_000, 500, 2_000), { sent: 1_000, received: 250 });
  t.same(look(3_000, 500, 3_000), { sent: 0, received: 0 });
  t.equal(look(3_000, 500, 3_000), undefined, 'no time has passed');
  t.same(look(0, 0, 4_000), { sent: 0, received: 0 }, 'counts that begin anew are no rate');
  t.equal(rates.of('another', { bytesSent: 5, bytesReceived: 5 }, 5_000), undefined);
});
