// What issues 2, 3, 5 and 9 ask for, as far as this benchmark can see it: each limit as a ratio or a difference within one run.
// They are shown, never enforced: a busy machine is not a broken program.
import type { Result } from './measure.ts';
import { differences, median, present, quantile, ratios } from './statistics.ts';

export interface Verdict {
  what: string;
  limit: string;
  found: string;
  /** Undefined where something was not measured. */
  holds: boolean | undefined;
}

type Lookup = (result: string, subject: string) => number | undefined;

/** protocol.md section 16, 2: the reference's own upload, MB/s. */
const referenceUpload = 0.67;

export function judge(results: readonly Result[]): Verdict[] {
  const byName = new Map(results.map((result) => [result.name, result]));
  const series = (name: string, subject: string) => byName.get(name)?.series[subject] ?? [];
  const value: Lookup = (name, subject) => {
    const found = present(series(name, subject));
    return found.length === 0 ? undefined : median(found);
  };
  const ratio = (name: string, subject: string, base: string) =>
    ratios(series(name, subject), series(name, base))?.median;
  const difference = (name: string, subject: string, base: string) =>
    differences(series(name, subject), series(name, base))?.median;
  const both = (name: string) => ['warm', 'no-daemon'].map((subject) => [subject, value(name, subject)] as const);
  const failures = byName.get('parallel.100')?.failures?.warm;

  return [
    ...both('upload.rate').map(([subject, rate]) =>
      atLeast(
        `upload, ${subject}, against the ${referenceUpload} MB/s of the reference`,
        rate && rate / referenceUpload,
        25,
        '×',
      ),
    ),
    atLeast('upload, warm, against CLI + plugin here', ratio('upload.rate', 'warm', 'cli+plugin'), 25, '×'),
    ...both('upload.cpu').map(([subject, cpu]) =>
      atMost(`CPU of an upload, after a run-in, ${subject}`, cpu, 12, ' s/GB'),
    ),
    atLeast(
      'download, warm, against CLI + plugin (the ceiling is the agent’s)',
      ratio('download.rate', 'warm', 'cli+plugin'),
      0.95,
      '×',
    ),
    ...both('download.cpu').map(([subject, cpu]) =>
      atMost(`CPU of a download, after a run-in, ${subject}`, cpu, 120, ' s/GB'),
    ),
    ...(['upload', 'download'] as const).flatMap((direction) => [
      atLeast(`${direction}, eice, against direct`, ratio(`${direction}.rate`, 'eice', 'direct'), 0.55, '×'),
      atMost(`CPU of the daemon, ${direction}, eice`, value(`${direction}.cpu`, 'eice'), 10, ' s/GB'),
    ]),
    ...(['warm', 'no-daemon'] as const).map((subject) =>
      atMost(`echo median above direct, ${subject}`, above(value, 'echo.median', subject), 0.7, ' ms'),
    ),
    told('the same, CLI + plugin', above(value, 'echo.median', 'cli+plugin'), ' ms'),
    told('the same, warm, with the node on a processor of its own', above(value, 'echo.apart.median', 'warm'), ' ms'),
    atMost('echo, 99th percentile above direct, warm', aboveTail(byName.get('echo.p99')), 3, ' ms'),
    told('the same, of the first 400 bytes', aboveTail(byName.get('echo.first.p99')), ' ms'),
    atMost('warm exec to banner against CLI + plugin', ratio('connect.banner', 'warm', 'cli+plugin'), 1 / 6, '×'),
    atMost('warm exec to banner above direct', difference('connect.banner', 'warm', 'direct'), 100, ' ms'),
    atMost('cold exec to banner against CLI + plugin', ratio('connect.banner', 'cold', 'cli+plugin'), 1 / 2, '×'),
    atMost('round trips to the banner, TLS, 500 ms each', value('delayed.tls.500.trips', 'warm'), 4, ''),
    atMost("helper's CPU above a bare Node", difference('helper.cpu', 'warm', 'node -e 0'), 15, ' ms'),
    atMost('daemon with 100 idle tunnels', value('idle.full', 'warm'), 130, ' MB'),
    atMost('each idle tunnel', value('idle.each', 'warm'), 0.3, ' MB'),
    atMost('other processes with 100 idle tunnels', value('idle.processes', 'warm'), 0, ''),
    atMost('failures of 100 at once, warm', failures, 0, ''),
    atMost('keystroke during an upload at 500 KB/s', value('keystroke.median', 'warm'), 300, ' ms'),
    atMost('the same, another connection', value('keystroke.other.median', 'warm'), 300, ' ms'),
    atMost('daemon grown by 2,000 connections', value('leaks.resident', 'warm'), 5, ' MB'),
    atMost('descriptors left by 2,000 connections', value('leaks.descriptors', 'warm'), 0, ''),
    atMost('timers left by 2,000 connections', value('leaks.timers', 'warm'), 0, ''),
  ];
}

/** Samples of an echo are not paired: it is the medians that differ. */
function above(value: Lookup, name: string, subject: string): number | undefined {
  const ours = value(name, subject);
  const direct = value(name, 'direct');
  return ours === undefined || direct === undefined ? undefined : ours - direct;
}

/** The 99th percentile is of all samples, not of a round. */
function aboveTail(tail: Result | undefined): number | undefined {
  const [ours, direct] = ['warm', 'direct'].map((name) => present(tail?.series[name] ?? []));
  if (tail === undefined || ours!.length === 0 || direct!.length === 0) return undefined;
  return figure(tail, ours!) - figure(tail, direct!);
}

function atMost(what: string, found: number | undefined, limit: number, unit: string): Verdict {
  return verdict(what, found, `≤ ${show(limit)}${unit}`, unit, (value) => value <= limit);
}

function atLeast(what: string, found: number | undefined, limit: number, unit: string): Verdict {
  return verdict(what, found, `≥ ${show(limit)}${unit}`, unit, (value) => value >= limit);
}

/** For comparison: it has no limit. */
function told(what: string, found: number | undefined, unit: string): Verdict {
  return { ...verdict(what, found, '–', unit, () => true), holds: undefined };
}

function verdict(
  what: string,
  found: number | undefined,
  limit: string,
  unit: string,
  isWithin: (value: number) => boolean,
): Verdict {
  if (found === undefined) return { what, limit, found: 'not measured', holds: undefined };
  return { what, limit, found: `${show(found)}${unit}`, holds: isWithin(found) };
}

/** Three digits, as far as they mean something. */
export function show(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  return size >= 100 || Number.isInteger(value) ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** The one number that stands for the samples. */
export function figure({ statistic }: Pick<Result, 'statistic'>, samples: readonly number[]): number {
  if (statistic === 'p99') return quantile(samples, 0.99);
  if (statistic === 'max') return Math.max(...samples);
  return median(samples);
}
