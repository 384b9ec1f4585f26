// A process of its own that relays `process.argv[2]` MiB from a target, and prints how often V8 collected what is young.
import { constants, PerformanceObserver } from 'node:perf_hooks';
import { PassThrough, Writable } from 'node:stream';
import { systemClock } from '../../src/clock.ts';
import { relay } from '../../src/tunnel/relay.ts';
import { FakeTransport } from './fake-transport.ts';

let young = 0;
const observer = new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    const { kind } = (entry as unknown as { detail: { kind: number } }).detail;
    if (kind === constants.NODE_PERFORMANCE_GC_MINOR) young += 1;
  }
});
observer.observe({ entryTypes: ['gc'] });

const transport = new FakeTransport();
const stdout = new Writable({ write: (_chunk, _encoding, done) => setImmediate(done) });
const done = relay({
  stdin: new PassThrough(),
  stdout,
  transport,
  clock: systemClock,
  signal: new AbortController().signal,
  isOrphan: () => false,
});
for (let kib = 0; kib < Number(process.argv[2]) * 1024; kib += 64) {
  transport.push(Buffer.allocUnsafeSlow(64 * 1024)); // as Node reads a socket
  await new Promise((resolve) => setImmediate(resolve));
}
transport.hangUp();
await done;
await new Promise((resolve) => setTimeout(resolve, 0));
process.stdout.write(String(young));
