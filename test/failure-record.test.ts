import { appendFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { KeyholeError } from '../src/errors.ts';
import { readFailures, recordFailure } from '../src/failure-record.ts';

const where = { host: 'i-1', port: '22' };
const failure = new KeyholeError('target-not-connected', 'it is off', { hint: 'turn it on' });

t.test('failures are read as they were recorded, oldest first', async (t) => {
  const folder = join(t.testdir({}), 'state');
  recordFailure(folder, where, failure, 1_000);
  recordFailure(folder, { host: 'i-2', port: '2222' }, new KeyholeError('x', 'no hint'), 2_000);
  t.strictSame(readFailures(folder), [
    { time: 1_000, ...where, code: 'target-not-connected', message: 'it is off', hint: 'turn it on' },
    { time: 2_000, host: 'i-2', port: '2222', code: 'x', message: 'no hint' },
  ]);
  t.equal(statSync(join(folder, 'failures.jsonl')).mode & 0o777, 0o600);
});

t.test('the files are bounded, and the newest failures are there', async (t) => {
  const folder = t.testdir({});
  const long = new KeyholeError('x', 'm'.repeat(5_000), { hint: 'h'.repeat(5_000) });
  for (let n = 0; n < 1_000; n++) recordFailure(folder, where, long, n);
  const sizes = readdirSync(folder).map((name) => statSync(join(folder, name)).size);
  t.equal(sizes.length, 2);
  t.ok(sizes.every((size) => size < 270_000));
  const times = readFailures(folder).map(({ time }) => time);
  t.equal(times.at(-1), 999);
  t.ok(times.length > 100);
  t.strictSame(
    times,
    [...times].sort((a, b) => a - b),
  );
});

t.test('lines that can not be read are passed over', async (t) => {
  const folder = t.testdir({});
  recordFailure(folder, where, failure, 1);
  appendFileSync(join(folder, 'failures.jsonl'), '{"time":2,"ho\nnull\n7\n{}\n');
  recordFailure(folder, where, failure, 3);
  t.strictSame(
    readFailures(folder).map(({ time }) => time),
    [1, 3],
  );
});

t.test('where nothing can be written or read, nothing fails', async (t) => {
  for (const folder of [undefined, '/proc/keyhole', join(t.testdir({ file: '' }), 'file')]) {
    recordFailure(folder, where, failure);
    t.strictSame(readFailures(folder), []);
  }
});
