import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { unifiedDiff } from '../../src/setup/diff.ts';

t.test('a line at the top', async (t) => {
  t.equal(
    unifiedDiff('f', 'a\nb\nc\nd\ne\n', 'new\na\nb\nc\nd\ne\n'),
    '--- f\n+++ f\n@@ -1,3 +1,4 @@\n+new\n a\n b\n c\n',
  );
});

t.test('files that come and go', async (t) => {
  t.equal(unifiedDiff('f', undefined, 'a\n'), '--- /dev/null\n+++ f\n@@ -0,0 +1,1 @@\n+a\n');
  t.equal(unifiedDiff('f', 'a\n', undefined), '--- f\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-a\n');
  t.equal(unifiedDiff('f', undefined, ''), '--- /dev/null\n+++ f\n');
  t.equal(unifiedDiff('f', 'a\n', 'a\n'), '');
});

t.test('a last line without its end', async (t) => {
  t.equal(unifiedDiff('f', 'a', 'a\n'), '--- f\n+++ f\n@@ -1,1 +1,1 @@\n-a\n\\ No newline at end of file\n+a\n');
});

t.test('changes that lie apart are hunks of their own', async (t) => {
  const before = Array.from({ length: 30 }, (_, at) => `${at}\n`);
  const after = before.with(2, 'x\n').with(25, 'y\n');
  t.equal(unifiedDiff('f', before.join(''), after.join('')).match(/^@@/gm)?.length, 2);
});

const hasPatch = spawnSync('patch', ['--version']).status === 0;
t.test('patch(1) makes the one of the other', { skip: !hasPatch && 'patch is not installed' }, async (t) => {
  const folder = t.testdir();
  const [file, patched] = [join(folder, 'file'), join(folder, 'patched')];
  const text = fc
    .tuple(fc.array(fc.constantFrom('a', 'b', 'c', ''), { minLength: 1, maxLength: 14 }), fc.constantFrom('', '\n'))
    .map(([lines, end]) => lines.join('\n') + end)
    .filter((text) => text !== '');
  const property = fc.property(text, text, (before, after) => {
    fc.pre(before !== after);
    writeFileSync(file, before);
    const { status } = spawnSync('patch', ['-s', '-o', patched, file], { input: unifiedDiff(file, before, after) });
    return status === 0 && readFileSync(patched, 'utf8') === after;
  });
  fc.assert(property, { numRuns: 50 });
});
