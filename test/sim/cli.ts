// scripts/sim: many seeds, or one with its trace. The only part of the simulation that prints or looks at a clock.
import { parseArgs } from 'node:util';
import { makeClient } from './client.ts';
import { drawScenario, scenarioNames } from './scenarios.ts';
import { type Outcome, run } from './world.ts';

const { values } = readArguments();
const seed = wholeNumber(values.seed);
const seeds = wholeNumber(values.seeds) ?? 2000;
const from = wholeNumber(values.from) ?? 0;
if (values.scenario !== undefined && !scenarioNames.includes(values.scenario)) {
  fail(`no scenario "${values.scenario}"; there are: ${scenarioNames.join(', ')}`);
}
process.exitCode = seed === undefined ? many(from, seeds) : one(seed);

function readArguments() {
  try {
    const text = { type: 'string' } as const;
    const quiet = { type: 'boolean', default: false } as const;
    return parseArgs({ options: { seed: text, seeds: text, from: text, scenario: text, quiet } });
  } catch (error) {
    return fail((error as Error).message);
  }
}

function wholeNumber(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  return /^\d{1,15}$/.test(text) ? Number(text) : fail(`not a whole number: ${text}`);
}

function fail(why: string): never {
  process.stderr.write(`scripts/sim: ${why}\nscripts/sim: try --help\n`);
  process.exit(2);
}

function one(seed: number): number {
  const scenario = drawScenario(seed, values.scenario);
  if (!values.quiet) print(JSON.stringify(scenario, null, 2));
  const trace = values.quiet ? () => {} : print;
  try {
    print(`seed ${seed}, ${scenario.name}: ${JSON.stringify(run({ seed, scenario, makeClient, trace }))}`);
    return 0;
  } catch (error) {
    print(`seed ${seed}, ${scenario.name}: FAILED: ${(error as Error).stack}`);
    return 1;
  }
}

function many(from: number, count: number): number {
  const started = performance.now();
  const tally = new Map<string, { whole: number; reported: number; virtualMs: number }>();
  let failures = 0;
  for (let seed = from; seed < from + count; seed++) {
    const scenario = drawScenario(seed, values.scenario);
    try {
      add(tally, scenario.name, run({ seed, scenario, makeClient }));
    } catch (error) {
      failures++;
      print(`FAILED: ${(error as Error).message}`);
      print(
        `  replay: scripts/sim --seed ${seed}${values.scenario === undefined ? '' : ` --scenario '${values.scenario}'`}`,
      );
    }
  }
  const seconds = (performance.now() - started) / 1000;
  for (const name of scenarioNames) {
    const entry = tally.get(name);
    if (entry === undefined) continue;
    const { whole, reported, virtualMs } = entry;
    const mean = (virtualMs / (whole + reported) / 1000).toFixed(1);
    print(
      `${name.padEnd(20)} ${String(whole).padStart(6)} whole ${String(reported).padStart(6)} reported, ${mean} s each`,
    );
  }
  print(`${count} seeds in ${seconds.toFixed(1)} s, ${failures} failed`);
  return failures === 0 ? 0 : 1;
}

function add(
  tally: Map<string, { whole: number; reported: number; virtualMs: number }>,
  name: string,
  outcome: Outcome,
) {
  const entry = tally.get(name) ?? { whole: 0, reported: 0, virtualMs: 0 };
  entry[outcome.result]++;
  entry.virtualMs += outcome.virtualMs;
  tally.set(name, entry);
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
