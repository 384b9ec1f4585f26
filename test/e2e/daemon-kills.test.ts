// kill -9 of ssh, of the helper and of the daemon at random moments: nothing is left, and the next ssh works (issue 3).
// scripts/kills does it 500 times.
import t from 'tap';
import { killOften, openKillBench, victims } from './kills.ts';

const rounds = 30;

t.test(`${rounds} random kills`, async (t) => {
  const bench = await openKillBench(t);
  const seed = Date.now() % 1e9;
  t.comment(`seeds from ${seed}`);
  const killed = await killOften(bench, seed, rounds);
  for (const victim of victims) t.ok(killed[victim] >= rounds / 6, `${victim} was killed ${killed[victim]} times`);
});
