// 5 MB up and down by scp, sftp, cat and rsync, with equal checksums: over links that lose nothing, and over links
// that lose, double and reorder messages in both directions. Side by side, since the agent sends no more than 0.7 MB/s.
import t, { type Test } from 'tap';
import type { FaultSettings } from '../region/gateway/faults.ts';
import { type BenchOptions, openBench } from './fixture.ts';
import { copy, type Direction, makeFile, sha256, tools } from './transfer.ts';

const bytes = 5_000_000;
const timeoutMs = 100_000;

async function bothWays(t: Test, options: BenchOptions): Promise<void> {
  const bench = await openBench(t, options);
  const file = makeFile(bench, 'five', bytes);
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

t.jobs = 3;

t.test('over TLS, nothing goes wrong on the way', { buffered: true }, (t) => bothWays(t, { region: { tls: true } }));

t.test('1 % of the messages are lost', { buffered: true }, (t) =>
  bothWays(t, { region: { faults: eachWay({ lose: 0.01 }) } }),
);

t.test('5 % of the messages come twice', { buffered: true }, (t) =>
  bothWays(t, { region: { faults: eachWay({ double: 0.05 }) } }),
);

t.test('5 % of the messages are overtaken', { buffered: true }, (t) =>
  bothWays(t, { region: { faults: eachWay({ reorder: 0.05 }) } }),
);

t.test('all of it at once, with the small messages of a gateway that takes no others', { buffered: true }, (t) =>
  bothWays(t, {
    region: { faults: eachWay({ lose: 0.01, double: 0.05, reorder: 0.05 }) },
    env: { KEYHOLE_MAX_PAYLOAD_BYTES: '1024' },
  }),
);
