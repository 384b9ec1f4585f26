// scripts/soak, whose comment is its manual.
import t, { type Test } from 'tap';
import { endCase, endOnce } from './ends.ts';
import { openBench } from './fixture.ts';
import { memoryLimitMegabytes, type Outcome, stoppedReader, stoppedSink, stoppedSsh, stoppedSshd } from './memory.ts';

const rounds = Number(process.env.SOAK_ROUNDS ?? 100);
const stopMs = 60_000;

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
