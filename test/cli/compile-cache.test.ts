import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readdirSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';

const source = JSON.stringify(new URL('../../src/cli/compile-cache.ts', import.meta.url).href);

/** Starts a Node that uses the folder, and tells whether it did. */
function usesCache(folder: string): boolean {
  const code = `
    import { getCompileCacheDir } from 'node:module';
    import { useCompileCache } from ${source};
    useCompileCache(${JSON.stringify(folder)});
    console.log(getCompileCacheDir() !== undefined);`;
  const env = { PATH: process.env.PATH };
  const child = spawnSync(process.execPath, ['--input-type=module', '-e', code], { env, timeout: 20_000 });
  t.equal(child.status, 0, String(child.stderr));
  return String(child.stdout).trim() === 'true';
}

t.test('a missing folder is made, for us alone, with its parents', async (t) => {
  const folder = join(t.testdir({}), 'a', 'b', 'c');
  t.ok(usesCache(folder));
  t.equal(statSync(folder).mode & 0o777, 0o700);
  t.ok(readdirSync(folder).length > 0, 'and used');
  t.ok(usesCache(folder), 'again');
});

t.test('a folder into which others can write is not used, nor one behind a link', async (t) => {
  const base = t.testdir({ open: {}, real: {} });
  chmodSync(join(base, 'open'), 0o777);
  t.notOk(usesCache(join(base, 'open')));
  symlinkSync(join(base, 'real'), join(base, 'link'));
  t.notOk(usesCache(join(base, 'link')));
});

t.test('where none can be made, we do without', async (t) => {
  const base = t.testdir({ file: 'x' });
  t.notOk(usesCache(join(base, 'file', 'below')));
  t.notOk(usesCache('/proc/nonexistent/keyhole/compiled'), 'the kernel says ENOENT for ever');
  t.notOk(existsSync('/proc/nonexistent'));
});
