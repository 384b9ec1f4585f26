// A gateway that cuts the connection over messages above 1,144 bytes, which is what the reference sends at most: the
// upload that finds it out ends intact, and later connections to that region do not try again.
import { readFileSync } from 'node:fs';
import t from 'tap';
import { type Bench, openBench } from './fixture.ts';
import { copy, makeFile, sha256 } from './transfer.ts';

const refusedBytes = 1_144;

async function upload(
  bench: Bench,
  file: string,
  name: string,
): Promise<{ status: number | null; same: boolean; opens: number }> {
  const to = bench.path(name);
  const { status } = await copy(bench, { tool: 'cat', direction: 'up', from: file, to, timeoutMs: 60_000 });
  const same = (await sha256(to)) === (await sha256(file));
  return { status, same, opens: bench.region.sessions.at(-1)!.opens.length };
}

for (const [cut, oversizeCut] of [
  ['close code 1009', 1009],
  ['a reset', 1006],
] as const) {
  t.test(`cuts by ${cut}`, async (t) => {
    const bench = await openBench(t, { region: { faults: { up: { maxMessageBytes: refusedBytes }, oversizeCut } } });
    const file = makeFile(bench, 'file', 2_000_000);
    const first = await upload(bench, file, 'first');
    t.match(first, { status: 0, same: true });
    t.ok(first.opens > 1, `over ${first.opens} sockets`);
    const memory = JSON.parse(readFileSync(bench.path('home/.local/state/keyhole/payload-sizes.json'), 'utf8'));
    t.strictSame(Object.keys(memory), ['eu-west-1'], 'it is remembered for the region');
    t.match(
      await upload(bench, file, 'second'),
      { status: 0, same: true, opens: 1 },
      'the next one stays on one socket',
    );
    await bench.gone();
  });
}

t.test('a gateway that takes them gets them', async (t) => {
  const bench = await openBench(t);
  const file = makeFile(bench, 'file', 2_000_000);
  t.match(await upload(bench, file, 'up'), { status: 0, same: true, opens: 1 });
  const { messages, bytes } = bench.region.sessions[0]!.traffic.up;
  t.ok(messages < 500, `${bytes} bytes in ${messages} messages`);
  await bench.gone();
});
