import { chmodSync, existsSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { assertPrivateFolder, assertSocketPath, ensurePrivateFolder, makeFolder } from '../src/private-folder.ts';

t.test('folders are made for the user alone, parents that are missing too', async (t) => {
  const top = t.testdir({});
  const before = process.umask(0);
  t.teardown(() => process.umask(before));
  ensurePrivateFolder(join(top, 'a', 'b', 'c'));
  for (const path of ['a', 'a/b', 'a/b/c']) t.equal(statSync(join(top, path)).mode & 0o777, 0o700, path);
  ensurePrivateFolder(join(top, 'a', 'b', 'c'));
});

t.test('what is there is not changed, and refused if it is open to others, a link or no folder', async (t) => {
  const top = t.testdir({ folder: {}, file: '' });
  const folder = join(top, 'folder');
  for (const mode of [0o710, 0o701, 0o770, 0o755, 0o750]) {
    chmodSync(folder, mode);
    t.throws(
      () => ensurePrivateFolder(folder),
      { code: 'unsafe-folder', hint: `chmod 700 ${folder}` },
      mode.toString(8),
    );
    t.equal(statSync(folder).mode & 0o777, mode);
  }
  chmodSync(folder, 0o700);
  symlinkSync(folder, join(top, 'link'));
  t.throws(() => ensurePrivateFolder(join(top, 'link')), { code: 'unsafe-folder', message: /symbolic link/ });
  t.throws(() => ensurePrivateFolder(join(top, 'file')), { code: 'unsafe-folder', message: /not a folder/ });
  t.throws(() => assertPrivateFolder(join(top, 'missing')), { code: 'no-folder' });
});

t.test('somebody else’s is refused', { skip: process.geteuid?.() === 0 && 'root can not have one here' }, async (t) => {
  t.throws(() => assertPrivateFolder('/'), { code: 'unsafe-folder', message: /belongs to uid 0/ });
});

t.test('one that can not be made is told with the reason', async (t) => {
  const top = t.testdir({ file: '' });
  t.throws(() => ensurePrivateFolder(join(top, 'file', 'below')), { code: 'no-folder', message: /ENOTDIR/ });
  t.throws(() => ensurePrivateFolder('/proc/keyhole/below'), { code: 'no-folder' });
  t.throws(() => makeFolder('/proc/keyhole'));
});

t.test('many that make one at once all have it', async (t) => {
  const top = t.testdir({});
  mkdirSync(join(top, 'a'));
  writeFileSync(join(top, 'b'), '');
  makeFolder(join(top, 'a'));
  t.ok(existsSync(join(top, 'a')));
});

t.test('paths of sockets may have 103 bytes, counted as bytes', async (t) => {
  assertSocketPath(`/${'x'.repeat(102)}`);
  t.throws(() => assertSocketPath(`/${'x'.repeat(103)}`), { code: 'socket-path', message: /104 bytes, more than 103/ });
  t.throws(() => assertSocketPath(`/${'ü'.repeat(52)}`), { code: 'socket-path' });
});
