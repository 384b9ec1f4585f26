import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { takeStartLock } from '../../src/helper/start-lock.ts';

const deadPid = spawnSync('true').pid;

t.test('one of many has it, until it is released', async (t) => {
  const path = join(t.testdir({}), 'lock');
  const release = takeStartLock(path);
  t.type(release, 'function');
  t.equal(readFileSync(path, 'utf8'), String(process.pid));
  t.equal(statSync(path).mode & 0o777, 0o600);
  for (let n = 0; n < 30; n++) t.equal(takeStartLock(path), undefined);
  release?.();
  t.notOk(existsSync(path));
  t.type(takeStartLock(path), 'function');
});

t.test('one whose owner is gone, or that is older than any start, is taken over', async (t) => {
  const path = join(t.testdir({ lock: String(deadPid) }), 'lock');
  const release = takeStartLock(path);
  t.type(release, 'function');
  release?.();

  writeFileSync(path, String(process.ppid));
  t.equal(takeStartLock(path), undefined, 'its owner lives');
  const old = Date.now() / 1000 - 21;
  utimesSync(path, old, old);
  t.type(takeStartLock(path), 'function');
});

t.test('one without a name may get it yet, for a second', async (t) => {
  for (const text of ['', 'x', '-1', '0']) {
    const path = join(t.testdir({ lock: text }), 'lock');
    t.equal(takeStartLock(path), undefined);
    const old = Date.now() / 1000 - 2;
    utimesSync(path, old, old);
    t.type(takeStartLock(path), 'function', JSON.stringify(text));
  }
});

t.test('releasing one that was taken over meanwhile is no error', async (t) => {
  const folder = t.testdir({});
  const path = join(folder, 'lock');
  const release = takeStartLock(path);
  spawnSync('rm', [path]);
  release?.();
});

t.test('where nothing can be written there can be no daemon either, and that is what is said', async (t) => {
  const folder = t.testdir({ file: '' });
  t.throws(() => takeStartLock(join(folder, 'file', 'lock')), { code: 'daemon-start', message: /ENOTDIR/ });
  t.throws(() => takeStartLock(join(folder, 'missing', 'lock')), { code: 'daemon-start', message: /ENOENT/ });
  mkdirSync(join(folder, 'lock'));
  t.equal(takeStartLock(join(folder, 'lock')), undefined, 'a folder in its place is somebody’s');
});
