// A short soak (issue 5). scripts/soak, whose comment is its manual, does it for as long as you like.
import t from 'tap';
import { checkSoak, soak } from './soak-run.ts';

const seed = Date.now() % 1e9;
const seconds = 8;

t.test(`twenty tunnels under random faults, traffic and kills for ${seconds} s`, async (t) => {
  t.comment(`seed ${seed}; again with: scripts/soak --minutes ${(seconds / 60).toFixed(2)} --seed ${seed}`);
  checkSoak(t, await soak(t, { seed, ms: seconds * 1_000, tunnels: 20 }));
});
