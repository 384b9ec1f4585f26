// 2 MB up and down by scp, sftp, cat and rsync, with equal checksums: over a link that loses nothing, and over one that
// loses, doubles and reorders messages in both directions. Side by side, since the agent sends no more than 0.7 MB/s.
// Each fault alone is a cell of faults.test.ts; scripts/transfer carries 100 MB.
import t, { type Test } from 'tap';
import type { FaultSettings } from '../region/gateway/faults.ts';
import { type BenchOptions, openBench } from './fixture.ts';
import { copy, type Direction, makeFile, sha256, tools } from './transfer.ts';

const bytes = 2_000_000;
const timeoutMs = 100_000;

async function bothWays(t: Test, options: BenchOptions): Promise<void> {
  const bench = await openBench(t, options);
  const file = makeFile(bench, 'file', bytes);
  const sum = await sha256(file);
  for (const direction of ['up', 'down'] satisfies Direction[]) {
    await Promise.all(
      tools.map(async (tool) => {
        const to = bench.path(`${tool}.${direction}`);
        const start = performance.now();
        const { status, stderr } = await copy(bench, { tool, direction, from: file, to, timeoutMs });
        const seconds = (performance.now() - start) / 1000;
        t.strictSame({ status, stderr }, { status: 0, stderr: '' }, `${tool} ${direction} in ${seconds.toFixed(1)} s`);
        t.equal(await sha256(to), sum, `${tool} ${direction}: equal checksums`);
      }),
    );
  }
  await bench.gone();
}

function eachWay(fault: NonNullable<FaultSettings['up']>): FaultSettings {
  return { up: fault, down: fault };
}

t.jobs = 2;

t.test('over TLS, nothing goes wrong on the way', { buffered: true }, (t) => bothWays(t, { region: { tls: true } }));

t.test(
  '1 % of the messages are lost, 5 % come twice and 5 % are overtaken, with the small messages of a gateway that takes no others',
  { buffered: true },
  (t) =>
    bothWays(t, {
      region: { faults: eachWay({ lose: 0.01, double: 0.05, reorder: 0.05 }) },
      env: { KEYHOLE_MAX_PAYLOAD_BYTES: '1024' },
    }),
);
