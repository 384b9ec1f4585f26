// kill -9 of ssh, of the helper and of the daemon at random moments: nothing is left, and the next ssh works (issue 3).
// scripts/kills, whose comment is its manual, does it more often.
import t from 'tap';
import { killOften, openKillBench, victims } from './kills.ts';

const rounds = Number(process.env.KILL_ROUNDS || 12);
const seed = Number(process.env.KILL_SEED || Date.now() % 1e9);

t.test(`${rounds} random kills`, async (t) => {
  t.comment(`seeds from ${seed}`);
  const bench = await openKillBench(t);
  const killed = await killOften(bench, seed, rounds);
  for (const victim of victims) t.ok(killed[victim] >= Math.floor(rounds / 3), `${victim}: ${killed[victim]} times`);
});
