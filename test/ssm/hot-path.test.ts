// A guard against what creeps in: heap bytes allocated for each message that is carried. The counts are the same on any
// machine, so the margin is for other versions of Node only. Who lowers a count lowers the figure here.
import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';
import t from 'tap';

/** Heap bytes per message of 1,024 bytes down and of 32 KiB up, acknowledgements included (Node 24.21). */
const expected = { download: 6_590, upload: 7_728 };
const margin = 1.15;

t.test('a message costs no more memory than it did', async (t) => {
  const flags = '--expose-gc --min-semi-space-size=256 --max-semi-space-size=256 --no-opt --no-maglev'.split(' ');
  const found = JSON.parse(
    execFileSync(process.execPath, [...flags, resolve(import.meta.dirname, 'hot-path.ts')], { encoding: 'utf8' }),
  ) as typeof expected;
  for (const way of ['download', 'upload'] as const) {
    t.ok(found[way] > 100, `${way}: something was counted`);
    t.ok(found[way] < expected[way] * margin, `${way}: ${Math.round(found[way])} bytes, ${expected[way]} expected`);
  }
});
