// Whoever stops reading in the middle of a transfer, the proxy stays small, and in the end every byte has come. Some
// seconds each here; the full minute is in scripts/soak.
import t, { type Test } from 'tap';
import { memoryLimitMegabytes, type Outcome, stoppedReader, stoppedSink, stoppedSsh, stoppedSshd } from './memory.ts';

const stopMs = 4_000;

t.jobs = 4;

function stopped(name: string, stop: (t: Test, stopMs: number) => Promise<Outcome>): void {
  t.test(name, { buffered: true }, async (t) => {
    const { peakMegabytes, intact } = await stop(t, stopMs);
    t.ok(peakMegabytes < memoryLimitMegabytes, `at most ${Math.round(peakMegabytes)} MB`);
    t.ok(intact, 'every byte has come');
  });
}

stopped('a reader of stdout stops, until keyhole leaves the gateway', stoppedReader);
stopped('ssh is stopped while it downloads', stoppedSsh);
stopped('sshd is stopped during an upload', stoppedSshd);
stopped('a service stops reading an upload', stoppedSink);
