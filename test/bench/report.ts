// The run as a Markdown table: a row for each measure, a column for each subject, in every cell the median, the middle half,
// and the ratio to direct TCP, or to CLI + plugin where there is no direct figure.
import { figure, judge, show } from './limits.ts';
import type { Result } from './measure.ts';
import { present, quantile, ratios } from './statistics.ts';

export interface Report {
  date: string;
  machine: Machine;
  /** Load of the last minute at the start of each measure, and at the end. */
  load: Record<string, number>;
  commit: string;
  results: Result[];
  /** Of each subject: what it is. */
  subjects: Record<string, string>;
}

export interface Machine {
  processor: string;
  processors: number;
  memoryMegabytes: number;
  system: string;
  node: string;
  ssh: string;
}

const bases = ['direct', 'cli+plugin', 'node -e 0'];

export function toMarkdown(report: Report): string {
  const names = [
    ...new Set([...Object.keys(report.subjects), ...report.results.flatMap(({ series }) => Object.keys(series))]),
  ];
  const { machine, load } = report;
  return [
    '# Benchmark of keyhole',
    '',
    `${report.date}, commit ${report.commit}, ${machine.processors} × ${machine.processor}, ${machine.system}, Node ${machine.node}, ${machine.ssh}.`,
    `Load of the machine (1 minute): ${Object.entries(load)
      .map(([when, value]) => `${when} ${value}`)
      .join(', ')}.`,
    'All against the simulated region of test/region on the same machine: ratios within this run mean something, absolute figures little.',
    '',
    'Cells: median (middle half), ratio to direct TCP; where there is no direct figure, to CLI + plugin, in brackets.',
    '',
    row(['', ...names]),
    row(['---', ...names.map(() => '---:')]),
    ...report.results.map((result) => row([heading(result), ...names.map((name) => cell(result, name))])),
    '',
    ...Object.entries(report.subjects).map(([name, what]) => `- **${name}**: ${what}`),
    '',
    '## Limits',
    '',
    row(['', 'limit', 'found', '']),
    row(['---', '---:', '---:', '---']),
    ...judge(report.results).map(({ what, limit, found, holds }) =>
      row([what, limit, found, holds === undefined ? '' : holds ? 'holds' : '**missed**']),
    ),
    '',
  ].join('\n');
}

/** Five digits of each figure, a series on a line: it has thousands of samples, and is kept in git. A failed round is null. */
export function toJson(report: Report): string {
  const short = (_: string, value: unknown) => (typeof value === 'number' ? Number(value.toPrecision(5)) : value);
  const text = JSON.stringify({ ...report, results: undefined }, undefined, 1);
  const results = JSON.stringify(report.results, short, 1).replace(/\[[^[\]{}]*\]/g, (list) =>
    list.replace(/\s+/g, ''),
  );
  return `${text.slice(0, -2)},\n "results": ${results}\n}\n`;
}

function heading({ title, unit, better }: Result): string {
  return `${title}${unit === '' ? '' : `, ${unit}`}${better === 'higher' ? ' (more is better)' : ''}`;
}

function cell(result: Result, name: string): string {
  const samples = present(result.series[name] ?? []);
  const failed = result.failures?.[name] ?? 0;
  const failures = failed === 0 ? '' : ` ${failed} failed`;
  if (samples.length === 0) return failures.trim();
  const spread =
    samples.length < 2 || result.statistic !== undefined
      ? ''
      : ` (${show(quantile(samples, 0.25))}–${show(quantile(samples, 0.75))})`;
  return `${show(figure(result, samples))}${spread}${ratioTo(result, name)}${failures}`;
}

function ratioTo(result: Result, name: string): string {
  const base = bases.find((each) => present(result.series[each] ?? []).length > 0);
  if (base === undefined || base === name || result.unit === '') return '';
  const ratio =
    result.statistic === undefined
      ? ratios(result.series[name]!, result.series[base]!)?.median
      : figure(result, present(result.series[name]!)) / figure(result, present(result.series[base]!));
  if (ratio === undefined) return '';
  return base === 'direct' ? ` ${show(ratio)}×` : ` [${show(ratio)}×]`;
}

function row(cells: string[]): string {
  return `| ${cells.join(' | ')} |`;
}
