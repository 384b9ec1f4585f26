// The soak: twenty tunnels of one daemon, each carrying one ssh after the other, with random traffic, faults and kills, for
// as long as asked. No stream may be corrupted, nothing may be left, and the daemon's memory may not grow.
import { setTimeout as delay } from 'node:timers/promises';
import type { Test } from 'tap';
import { Faults } from '../region/gateway/faults.ts';
import { Random } from '../sim/random.ts';
import type { DaemonBench } from './daemon-bench.ts';
import { openFaultBench } from './fault-matrix.ts';
import { Freight } from './fault-transfer.ts';
import { residentMegabytes } from './fixture.ts';
import { type LifePlan, live, planLife } from './soak-life.ts';
import { garble, strike } from './soak-trouble.ts';

export interface SoakOptions {
  seed: number;
  ms: number;
  tunnels: number;
}

export interface SoakReport {
  /** How many ssh there were, and how many of them were killed. */
  lives: number;
  kills: number;
  strikes: number;
  resumes: number;
  /** What was wrong; each names the choices that led there. */
  failures: string[];
  /** Of the daemon, MB: at the end, at most, and the trend of the second half per minute. */
  memory: { last: number; peak: number; perMinute: number };
}

/** A leak of a whole stream's bytes would show in any time; what grows slowly only in a long one. */
const memoryLimitMegabytes = 300;

export async function soak(t: Test, { seed, ms, tunnels }: SoakOptions): Promise<SoakReport> {
  const faults = Array.from({ length: tunnels }, () => new Faults());
  const bench = await openFaultBench(t, seed, { instances: tunnels, node: (at) => ({ faults: faults[at] }) });
  const freight = new Freight(bench, { upBytes: 4e6, downBytes: 4e5 });
  const end = performance.now() + ms;
  const report = { lives: 0, kills: 0, strikes: 0, failures: [] as string[] };
  const worker = async (at: number) => {
    const host = bench.instances[at]!;
    const random = new Random(seed, `tunnel ${at}`);
    for (let life = 0; performance.now() < end; life += 1) {
      const plan = planLife(random);
      garble(faults[at]!, random);
      const over = new AbortController();
      const troubles = trouble(bench, host, plan, new Random(seed, `trouble ${at} ${life}`), over.signal);
      try {
        await live(bench, host, freight, plan);
      } catch (error) {
        report.failures.push(`tunnel ${at}, life ${life}, ${JSON.stringify(plan)}: ${(error as Error).message}`);
      }
      over.abort();
      report.strikes += await troubles;
      report.lives += 1;
      if (plan.kill !== undefined) report.kills += 1;
    }
  };
  const samples: { at: number; megabytes: number }[] = [];
  const watching = new AbortController();
  const watch = watchMemory(bench, samples, watching.signal);
  await Promise.all(faults.map((_, at) => worker(at)));
  for (const one of faults) one.clear();
  watching.abort();
  await watch;
  await bench.idle();
  const resumes = bench.region.sessions.reduce((sum, { opens }) => sum + Math.max(0, opens.length - 1), 0);
  return { ...report, resumes, memory: summary(samples) };
}

/** Strikes at the host's session every now and then. @returns how often */
async function trouble(
  { region }: DaemonBench,
  host: string,
  plan: LifePlan,
  random: Random,
  over: AbortSignal,
): Promise<number> {
  let strikes = 0;
  while (!over.aborted) {
    await delay(random.integer(300, 6_000), undefined, { signal: over }).catch(() => {});
    const session = region.sessions.findLast(({ target, active }) => target === host && active);
    // One that has not been opened is what the tests of a first connection are about.
    if (over.aborted || session === undefined || session.traffic.up.messages < 20) continue;
    strike(region, session.sessionId, plan, random);
    strikes += 1;
  }
  return strikes;
}

async function watchMemory(
  bench: DaemonBench,
  samples: { at: number; megabytes: number }[],
  over: AbortSignal,
): Promise<void> {
  let pid: number | undefined;
  while (!over.aborted) {
    await delay(1_000, undefined, { signal: over }).catch(() => {});
    pid ??= bench.daemons()[0];
    if (pid !== undefined) samples.push({ at: performance.now() / 60_000, megabytes: residentMegabytes(pid).now });
  }
}

/** The trend is the slope of least squares. */
function summary(samples: { at: number; megabytes: number }[]): SoakReport['memory'] {
  const late = samples.slice(Math.floor(samples.length / 2));
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [at, megabytes] = [mean(late.map((one) => one.at)), mean(late.map((one) => one.megabytes))];
  const covariance = mean(late.map((one) => (one.at - at) * (one.megabytes - megabytes)));
  const variance = mean(late.map((one) => (one.at - at) ** 2));
  return {
    last: samples.at(-1)?.megabytes ?? 0,
    peak: Math.max(0, ...samples.map((one) => one.megabytes)),
    perMinute: covariance / variance,
  };
}

export function checkSoak(t: Test, { failures, memory, ...counts }: SoakReport): void {
  t.same(failures, [], 'no stream was corrupted, and no ssh failed that nobody killed');
  const { last, peak, perMinute } = memory;
  t.ok(peak < memoryLimitMegabytes, `the daemon had ${Math.round(peak)} MB at most`);
  t.comment(JSON.stringify({ ...counts, megabytes: Math.round(last), perMinute: Number(perMinute.toFixed(2)) }));
}
