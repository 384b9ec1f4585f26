// A keystroke beside an upload on a line that both share. How long it takes on a quiet machine, scripts/bench measures
// (keystroke), and what all kinds of lines make of it, test/sim/traffic.test.ts; here the bound only tells a queue of seconds.
import t from 'tap';
import { openDaemonBench } from './daemon-bench.ts';
import { patience, until } from './fixture.ts';

const bytesPerSecond = 500_000;
const chunk = Buffer.alloc(64 * 1024);
const strokes = 15;
/** 4 MiB ahead of acknowledgements, as once, are 8 s. */
const longestMs = 1_500 * patience;

t.test('an upload on a slow line does not hold up a keystroke for seconds', async (t) => {
  const bench = await openDaemonBench(t, { region: { faults: { up: { bytesPerSecond } } } });
  const [host] = bench.instances;
  const open = (command: string) =>
    bench.start('ssh', ['-F', bench.config, host!, command], { input: 'open', timeoutMs: 100_000 });
  const keys = open('cat');
  keys.child.stdin.write('x');
  await until('the session is open', () => keys.stdout().length === 1, 20_000);
  const upload = open('cat >/dev/null');
  const pour = () => {
    while (upload.child.stdin.writable && upload.child.stdin.write(chunk));
  };
  upload.child.stdin.on('drain', pour).on('error', () => {});
  pour();
  const sent = () => Math.max(...bench.region.sessions.map(({ traffic }) => traffic.up.bytes));
  await until('the upload is under way', () => sent() > 500_000, 20_000);

  const waits: number[] = [];
  for (let at = 0; at < strokes; at++) {
    const startedAt = performance.now();
    keys.child.stdin.write('x');
    await until('the echo', () => keys.stdout().length === 2 + at, 30_000);
    waits.push(performance.now() - startedAt);
  }
  const median = waits.sort((a, b) => a - b)[strokes >> 1]!;
  t.ok(median < longestMs, `${Math.round(median)} ms`);
  const before = sent();
  await until('the upload goes on', () => sent() > before + 200_000, 20_000);

  upload.child.kill();
  keys.child.stdin.end();
  t.match(await keys.exit, { status: 0 });
  await upload.exit;
  await bench.idle();
});
