// The arithmetic of the benchmark, and that its help can be read.
import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';
import t from 'tap';
import { longestChain } from './far-link.ts';
import { judge } from './limits.ts';
import { differences, median, present, quantile, ratios, summarize } from './statistics.ts';

t.test('medians and quantiles are interpolated, whatever the order of the samples', async (t) => {
  t.equal(median([3, 1, 2]), 2);
  t.equal(median([4, 1, 3, 2]), 2.5);
  t.equal(quantile([10, 0], 0.25), 2.5);
  t.equal(quantile([1, 2, 3, 4, 5], 1), 5);
  t.equal(quantile([7], 0.99), 7);
  t.ok(Number.isNaN(median([])));
  t.strictSame(summarize([5, 1, 2, 4, 3]), { count: 5, median: 3, lower: 2, upper: 4 });
});

t.test('ratios and differences compare samples of the same round only', async (t) => {
  // The machine was twice as slow in the second round, which a ratio must not see.
  t.equal(ratios([20, 40, 20], [10, 20, 10])?.upper, 2);
  t.strictSame(ratios([20, undefined, 90], [10, 1, undefined]), { count: 1, median: 2, lower: 2, upper: 2 });
  t.equal(differences([15, 25], [10, 20])?.median, 5);
  t.equal(ratios([undefined], [1]), undefined);
  t.strictSame(present([1, undefined, 2]), [1, 2]);
});

t.test('round trips are counted one after another, those at the same time once', async (t) => {
  const turn = (startedAt: number, endedAt: number) => ({ startedAt, endedAt });
  t.equal(longestChain([]), 0);
  t.equal(longestChain([turn(0, 500), turn(500, 1000), turn(1010, 1510)]), 3);
  t.equal(longestChain([turn(0, 500), turn(20, 520), turn(40, 540), turn(560, 1060)]), 2);
});

t.test('a limit is judged where it was measured, and left open where it was not', async (t) => {
  const banner = { title: '', unit: 'ms', better: 'lower', name: 'connect.banner' } as const;
  const verdicts = judge([{ ...banner, series: { direct: [10, 12], warm: [70, 200], 'cli+plugin': [500, 600] } }]);
  const holds = (what: string) => verdicts.find((verdict) => verdict.what === what)?.holds;
  t.equal(holds('warm exec to banner against CLI + plugin'), false);
  t.equal(holds('warm exec to banner above direct'), false);
  t.equal(holds('each idle tunnel'), undefined);
});

t.test('scripts/bench explains itself and names every measure', async (t) => {
  const help = execFileSync(resolve(import.meta.dirname, '../../scripts/bench'), ['--help'], { encoding: 'utf8' });
  const { measures } = await import('./measures.ts');
  for (const { name } of measures) t.match(help, new RegExp(`\\b${name}\\b`), name);
});
