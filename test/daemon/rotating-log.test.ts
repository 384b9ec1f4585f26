import { existsSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { rotatingLog } from '../../src/daemon/rotating-log.ts';

t.test('three files of 5 MB at most, for the user alone, the newest line in the first', async (t) => {
  const folder = t.testdir({});
  const file = join(folder, 'state', 'daemon.log');
  const log = rotatingLog(file, 'info');
  const text = 'x'.repeat(100_000);
  for (let n = 0; n < 250; n++) log('info', 'line', { n, text });
  log('debug', 'not wanted');
  for (const name of [file, `${file}.1`, `${file}.2`]) {
    t.ok(statSync(name).size < 5.5e6, name);
    t.equal(statSync(name).mode & 0o777, 0o600);
  }
  t.notOk(existsSync(`${file}.3`));
  t.match(readFileSync(file, 'utf8'), / n=249 /);
  t.notMatch(readFileSync(file, 'utf8'), 'not wanted');
  const all = [`${file}.2`, `${file}.1`, file].map((name) => readFileSync(name, 'utf8')).join('');
  const numbers = [...all.matchAll(/ n=(\d+) /g)].map(([, n]) => Number(n));
  t.strictSame(
    numbers,
    Array.from(numbers, (_, i) => numbers[0]! + i),
    'no line is missing between the first and the last',
  );
  t.equal(statSync(join(folder, 'state')).mode & 0o777, 0o700);
});

t.test('a log that can not be written is silent, and goes on when it can be', async (t) => {
  const folder = t.testdir({ state: '' });
  const log = rotatingLog(join(folder, 'state', 'daemon.log'), 'info');
  log('error', 'lost');
  rmSync(join(folder, 'state'));
  mkdirSync(join(folder, 'state'));
  log('error', 'kept');
  const text = readFileSync(join(folder, 'state', 'daemon.log'), 'utf8');
  t.match(text, /^\d+ .* error kept\n$/);
});
