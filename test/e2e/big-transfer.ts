// scripts/transfer, whose comment is its manual.
import t from 'tap';
import { openBench } from './fixture.ts';
import { copy, type Direction, makeFile, sha256 } from './transfer.ts';

const megabytes = Number(process.env.TRANSFER_MEGABYTES || 100);
/** Ten times what the agent's 0.7 MB/s make of it. */
const timeoutMs = 60_000 + (megabytes / 0.07) * 1_000;

t.test(`${megabytes} MB both ways`, async (t) => {
  const bench = await openBench(t);
  const file = makeFile(bench, 'file', megabytes * 1e6);
  const sum = await sha256(file);
  for (const direction of ['up', 'down'] satisfies Direction[]) {
    const to = bench.path(direction);
    const start = performance.now();
    const { status, stderr } = await copy(bench, { tool: 'scp', direction, from: file, to, timeoutMs });
    const seconds = (performance.now() - start) / 1000;
    t.strictSame({ status, stderr }, { status: 0, stderr: '' });
    t.equal(await sha256(to), sum, `${direction}: ${seconds.toFixed(1)} s, ${(megabytes / seconds).toFixed(2)} MB/s`);
  }
  await bench.gone();
});
