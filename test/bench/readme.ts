// The figures of README.md: a few rows of one run, between two marks, with machine and date. Written by scripts/bench
// --publish and by nobody else.
import { figure, show } from './limits.ts';
import type { Result } from './measure.ts';
import type { Report } from './report.ts';
import { present } from './statistics.ts';

const begin = '<!-- figures: written by scripts/bench --publish -->';
const end = '<!-- end of figures -->';

/** What README.md calls the subjects, in the order of its columns. */
const columns = {
  direct: 'ssh over TCP',
  warm: 'keyhole',
  cold: 'keyhole, no daemon yet',
  'cli+plugin': 'AWS CLI + plugin',
};

/** Names of results, in the order of README.md's rows. */
const rows = [
  'connect.banner',
  'connect.true',
  'delayed.tls.40',
  'delayed.tls.500.trips',
  'echo.median',
  'echo.p99',
  'echo.apart.median',
  'upload.rate',
  'upload.cpu',
  'download.rate',
  'download.cpu',
  'parallel.50',
  'keystroke.median',
  'memory.peak',
  'processes',
];

/** @throws Error where README.md has no place for them */
export function replaceFigures(readme: string, report: Report): string {
  const [from, to] = [readme.indexOf(begin), readme.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`README.md has no ${begin} … ${end}`);
  return `${readme.slice(0, from + begin.length)}\n${figures(report)}\n${readme.slice(to)}`;
}

function figures({ results, machine, date, commit }: Report): string {
  const byName = new Map(results.map((result) => [result.name, result]));
  const chosen = rows.flatMap((name) => byName.get(name) ?? []);
  const names = Object.keys(columns).filter((name) => chosen.some((result) => samplesOf(result, name).length > 0));
  return [
    '',
    '![the same figures as bars](test/bench/published/bench.svg)',
    '',
    `| median | ${names.map((name) => columns[name as keyof typeof columns]).join(' | ')} |`,
    `| --- | ${names.map(() => '---:').join(' | ')} |`,
    ...chosen.map((result) => `| ${heading(result)} | ${names.map((name) => cell(result, name)).join(' | ')} |`),
    '',
    `${date.slice(0, 10)}, commit ${commit}: ${machine.processors} × ${machine.processor}, Node ${machine.node}, ` +
      `${machine.ssh.split(',')[0]}; client, simulated region, SSM agent and sshd on this one machine, so that only ratios ` +
      'mean something. All of the run: [test/bench/published](test/bench/published/bench.md).',
    '',
  ].join('\n');
}

function heading({ title, unit, better }: Result): string {
  return `${title}${unit === '' ? '' : `, ${unit}`}${better === 'higher' ? ' (more is better)' : ''}`;
}

function samplesOf(result: Result, name: string): number[] {
  return present(result.series[name] ?? []);
}

function cell(result: Result, name: string): string {
  const samples = samplesOf(result, name);
  return samples.length === 0 ? '' : show(figure(result, samples));
}
