// However ssh ends, nothing of keyhole is left within 3 s: no process, no session at AWS. Each case once here, 100 times in
// scripts/soak.
import t from 'tap';
import { endCase, endOnce } from './ends.ts';
import { openBench } from './fixture.ts';

const rounds = 9;

t.test('nothing is left after ssh has ended', async (t) => {
  const bench = await openBench(t);
  for (let round = 0; round < rounds; round += 1) {
    const { doing, ending } = endCase(round);
    const took = await endOnce(bench, { doing, ending });
    t.pass(`round ${round}: ${ending} while ${doing}: gone after ${Math.round(took)} ms`);
  }
  t.equal(bench.region.sessions.length, rounds);
});
