// scripts/faults, whose comment is its manual.
import { parseArgs } from 'node:util';
import t from 'tap';
import { cells } from './fault-cells.ts';
import { runMatrix } from './fault-matrix.ts';
import { daemonStopped, networkAway } from './fault-outages.ts';

const text = { type: 'string' } as const;
const { values } = parseArgs({ options: { seeds: text, from: text, cell: text, outage: text } });
const seeds = Number(values.seeds ?? 10);
const from = Number(values.from ?? Date.now() % 1e9);
const outageMs = Number(values.outage ?? 30) * 1_000;
const upBytes = 20e6;
const downBytes = 3e6;
const timeoutMs = 300_000;

const chosen = cells.filter(({ name }) => name.includes(values.cell ?? ''));

for (let seed = from; seed < from + seeds; seed += 1) {
  t.test(`seed ${seed}`, async (t) => {
    t.jobs = 3;
    const outage = { seed, upBytes, downBytes, ms: outageMs };
    t.test('every fault is survived with all bytes', { buffered: true }, (t) =>
      runMatrix(t, { cells: chosen, seed, upBytes, downBytes, timeoutMs }),
    );
    if (values.cell !== undefined) return;
    t.test(`the network is away for ${outageMs} ms`, { buffered: true }, (t) =>
      networkAway(t, { ...outage, idle: 10 }),
    );
    t.test(`the daemon is stopped for ${outageMs} ms`, { buffered: true }, (t) =>
      daemonStopped(t, { ...outage, idle: 1 }),
    );
  });
}
