// scripts/soak, whose comment is its manual.
import { parseArgs } from 'node:util';
import t, { type Test } from 'tap';
import { endCase, endOnce } from './ends.ts';
import { openBench } from './fixture.ts';
import { memoryLimitMegabytes, type Outcome, stoppedReader, stoppedSink, stoppedSsh, stoppedSshd } from './memory.ts';
import { checkSoak, soak } from './soak-run.ts';

const text = { type: 'string' } as const;
const { values } = parseArgs({ options: { minutes: text, seed: text, tunnels: text, rounds: text } });
const minutes = Number(values.minutes ?? 30);
const seed = Number(values.seed ?? Date.now() % 1e9);
const tunnels = Number(values.tunnels ?? 20);
const rounds = Number(values.rounds ?? 0);
const stopMs = 60_000;
/** Of the daemon's resident size, MB per minute, once it has seen everything a few times. */
const steadyAfterMinutes = 10;
const maxGrowth = 0.5;

t.test(`${tunnels} tunnels under random faults, traffic and kills for ${minutes} min`, async (t) => {
  t.comment(`seed ${seed}`);
  const report = await soak(t, { seed, ms: minutes * 60_000, tunnels });
  checkSoak(t, report);
  if (minutes >= steadyAfterMinutes) t.ok(report.memory.perMinute < maxGrowth, 'memory is flat');
});

if (rounds > 0) {
  t.test(`nothing is left after ssh has ended, ${rounds} times`, async (t) => {
    const bench = await openBench(t);
    let slowest = 0;
    for (let round = 0; round < rounds; round += 1) slowest = Math.max(slowest, await endOnce(bench, endCase(round)));
    t.equal(bench.region.sessions.length, rounds);
    t.pass(`gone after ${Math.round(slowest)} ms at most`);
  });

  const stops: Record<string, (t: Test, stopMs: number) => Promise<Outcome>> = {
    'ssh is stopped for a minute while it downloads': stoppedSsh,
    'sshd is stopped for a minute during an upload': stoppedSshd,
    'a reader of stdout stops for a minute after keyhole has left the gateway': stoppedReader,
    'a service stops reading an upload for a minute': stoppedSink,
  };

  t.jobs = 4;
  for (const [name, stop] of Object.entries(stops)) {
    t.test(name, { buffered: true }, async (t) => {
      const { peakMegabytes, intact } = await stop(t, stopMs);
      t.ok(peakMegabytes < memoryLimitMegabytes, `at most ${Math.round(peakMegabytes)} MB`);
      t.ok(intact, 'every byte has come');
    });
  }
}
