// Many at once: `ssh … true`, all started together, until the last has ended. Subjects with large processes of their own for
// each connection are left out of the large numbers, which would measure the machine's memory.
import type { Measure, Result } from '../measure.ts';
import { timeSsh } from '../ssh.ts';
import type { Subject } from '../subject.ts';
import { warmUp } from './connect.ts';

const counts = [1, 10, 50, 100];
const heavyUpTo = 10;

export const parallel: Measure = {
  name: 'parallel',
  about: '1, 10, 50 and 100 connections at once',
  async run(surroundings) {
    const { subjects, network, runs, say } = surroundings;
    const steady = subjects.filter(({ isCold }) => !isCold);
    await warmUp(surroundings, steady, network);
    const results: Result[] = [];
    for (const count of counts) {
      const rounds = Math.max(1, Math.min(runs, Math.round(30 / count)));
      const taking = steady.filter((subject) => !subject.isHeavy || count <= heavyUpTo);
      const series: Record<string, number[]> = Object.fromEntries(taking.map(({ name }) => [name, []]));
      const failures: Record<string, number> = {};
      for (let round = 0; round < rounds; round++) {
        for (let at = 0; at < taking.length; at++) {
          const subject = taking[(at + round) % taking.length]!;
          const startedAt = performance.now();
          const failed = await startTogether(subject, count, say);
          series[subject.name]!.push(performance.now() - startedAt);
          failures[subject.name] = (failures[subject.name] ?? 0) + failed;
        }
      }
      results.push({
        name: `parallel.${count}`,
        title: `${count} × \`ssh … true\` at once, until the last has ended`,
        unit: 'ms',
        better: 'lower',
        series,
        failures,
      });
    }
    return results;
  },
};

/** How many of them failed. */
async function startTogether(subject: Subject, count: number, say: (line: string) => void): Promise<number> {
  const ends = await Promise.allSettled(Array.from({ length: count }, () => timeSsh(subject, 'true', 180_000)));
  const reasons = ends.flatMap((end) => (end.status === 'rejected' ? [(end.reason as Error).message] : []));
  if (reasons.length > 0) say(`${reasons.length} of ${count} failed: ${reasons[0]}`);
  return reasons.length;
}
