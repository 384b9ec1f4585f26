// The process behind scripts/bench, whose comment is its manual: reads the options, runs the measures one after the other, and
// writes what they found.
import { execFileSync, spawnSync } from 'node:child_process';
import { accessSync, constants, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { toSvg } from '../test/bench/chart.ts';
import type { Result } from '../test/bench/measure.ts';
import { measures } from '../test/bench/measures.ts';
import { machineLoad } from '../test/bench/processes.ts';
import { replaceFigures } from '../test/bench/readme.ts';
import { type Machine, type Report, toJson, toMarkdown } from '../test/bench/report.ts';
import { openStand } from '../test/bench/stand.ts';
import { type AwsClient, type CustomCommand, makeSubjects, type Subject } from '../test/bench/subject.ts';

const top = resolve(import.meta.dirname, '..');
const output = join(top, 'bench-output');

interface Options {
  isQuick: boolean;
  only: string[];
  leaks: boolean;
  runs: number;
  custom: CustomCommand[];
  json: string;
  markdown: string;
  publish: boolean;
}

class UsageError extends Error {}

async function main(argv: string[]): Promise<void> {
  const options = readArguments(argv);
  // What is measured: somebody may go on working meanwhile.
  const commit = describeCommit();
  const stand = await openStand();
  const stop = () => void stand.close().finally(() => process.exit(1));
  for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) process.once(signal, stop);
  const network = await stand.openNetwork();
  const subjectOptions = { stand, network, awsClient: findAwsClient(), custom: options.custom };
  const all = makeSubjects(subjectOptions);
  const chosen = chooseMeasures(options, all);
  const subjectNames = options.only.filter((name) => all.some((subject) => subject.name === name));
  const isWanted = ({ name }: Subject) => name === 'direct' || subjectNames.length === 0 || subjectNames.includes(name);
  const subjects = all.filter(isWanted);
  const load: Record<string, number> = {};
  const results: Result[] = [];
  const startedAt = performance.now();
  try {
    for (const measure of chosen) {
      load[measure.name] = machineLoad();
      say(`${measure.name}: ${measure.about} (load ${load[measure.name]})`);
      const { runs, isQuick } = options;
      results.push(...(await measure.run({ stand, network, subjects, subjectOptions, isWanted, runs, isQuick, say })));
    }
    results.push(leftBehind(subjects));
  } finally {
    load.end = machineLoad();
    for (const subject of subjects) await subject.clean();
    await stand.close();
  }
  const report: Report = {
    date: new Date().toISOString(),
    machine: describeMachine(),
    load,
    commit,
    results,
    subjects: Object.fromEntries(
      subjects.map(({ name, proxyCommand }) => [name, describe(proxyCommand, stand.folder)]),
    ),
  };
  const markdown = toMarkdown(report);
  write(options.json, toJson(report));
  write(options.markdown, markdown);
  if (options.publish) publish(report, markdown);
  process.stdout.write(markdown);
  say(
    `took ${Math.round((performance.now() - startedAt) / 1000)} s; written to ${options.json} and ${options.markdown}`,
  );
}

/** What README.md shows. */
function publish(report: Report, markdown: string): void {
  const folder = join(top, 'test/bench/published');
  write(join(folder, 'bench.json'), toJson(report));
  write(join(folder, 'bench.md'), markdown);
  write(join(folder, 'bench.svg'), toSvg(report));
  const readme = join(top, 'README.md');
  writeFileSync(readme, replaceFigures(readFileSync(readme, 'utf8'), report));
}

/** Processes that are still there although every connection has been closed. */
function leftBehind(subjects: Subject[]): Result {
  const count = (subject: Subject) => [subject.leftBehind().length];
  return {
    name: 'left',
    title: 'processes left behind in the end',
    unit: '',
    better: 'lower',
    series: Object.fromEntries(subjects.filter(({ isCold }) => !isCold).map((each) => [each.name, count(each)])),
  };
}

function readArguments(argv: string[]): Options {
  const values = parse(argv);
  const runs = Number(values.runs);
  if (!Number.isInteger(runs) || runs < 1 || runs > 1000)
    throw new UsageError(`--runs takes a number, not ${values.runs}`);
  return {
    isQuick: values.quick,
    only: values.only,
    leaks: values.leaks,
    runs,
    custom: values['proxy-command'].map((text) => {
      const [, name, command] = /^([\w.+-]+)=(.+)$/s.exec(text) ?? [];
      if (command === undefined) throw new UsageError(`--proxy-command takes NAME='COMMAND', not ${text}`);
      return { name: name!, command };
    }),
    json: resolve(values.json ?? join(output, 'bench.json')),
    markdown: resolve(values.markdown ?? join(output, 'bench.md')),
    publish: values.publish,
  };
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        quick: { type: 'boolean', default: false },
        only: { type: 'string', multiple: true, default: [] },
        leaks: { type: 'boolean', default: false },
        runs: { type: 'string', default: '15' },
        'proxy-command': { type: 'string', multiple: true, default: [] },
        json: { type: 'string' },
        markdown: { type: 'string' },
        publish: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function chooseMeasures({ only, isQuick, leaks }: Options, subjects: Subject[]) {
  const named = measures.filter(({ name }) => only.includes(name));
  const known = new Set([...measures, ...subjects].map(({ name }) => name));
  const unknown = only.find((name) => !known.has(name));
  if (unknown !== undefined) throw new UsageError(`--only takes one of ${[...known].join(', ')}; not ${unknown}`);
  if (named.length > 0) return named;
  return measures.filter((measure) => (measure.optional ? leaks : !isQuick || measure.quick));
}

function findAwsClient(): AwsClient | undefined {
  const cli = process.env.BENCH_AWS ?? onPath('aws');
  const plugin = process.env.BENCH_SESSION_MANAGER_PLUGIN ?? onPath('session-manager-plugin');
  if (cli !== undefined && plugin !== undefined) return { cli, plugin };
  say(`without cli+plugin: ${cli === undefined ? 'aws' : 'session-manager-plugin'} is not on PATH`);
  return undefined;
}

function onPath(program: string): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, program))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

function describeMachine(): Machine {
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    processors: cpus().length,
    memoryMegabytes: Math.round(totalmem() / 1e6),
    system: `${process.platform} ${release()}`,
    node: process.versions.node,
    ssh: spawnSync('ssh', ['-V'], { encoding: 'utf8' }).stderr.trim(),
  };
}

function describeCommit(): string {
  try {
    const text = execFileSync('git', ['describe', '--always', '--dirty'], {
      cwd: top,
      encoding: 'utf8',
      stdio: 'pipe',
    });
    return text.trim();
  } catch {
    return 'unknown';
  }
}

/** The copy of dist that was measured is gone by now. */
/** Without where things lie on this machine. */
function describe(proxyCommand: string | undefined, folder: string): string {
  if (proxyCommand === undefined) return 'ssh over TCP';
  return `\`${proxyCommand.replaceAll(`${folder}/`, '').replace(/^"\/[^"]*\//, '"')}\``;
}

function write(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}

function say(line: string): void {
  process.stderr.write(`bench: ${line}\n`);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const wrong = error instanceof UsageError;
  process.stderr.write(`bench: ${(error as Error).message}\n${wrong ? 'bench: see scripts/bench --help\n' : ''}`);
  process.exitCode = wrong ? 2 : 1;
}
