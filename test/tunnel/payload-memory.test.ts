import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { payloadMemory } from '../../src/tunnel/payload-memory.ts';

const day = 24 * 3600 * 1000;
const start = 1_700_000_000_000;

function file(t: Test): string {
  return join(t.testdir(), 'state', 'payload-refusals.json');
}

t.test('a refusal holds for its region and for 30 days', async (t) => {
  let now = start;
  const memory = payloadMemory(undefined, () => now);
  t.equal(memory.refusesLargePayloads('us-east-1'), false);
  memory.rememberRefusal('us-east-1');
  for (const [days, isKept] of [
    [0, true],
    [29.999, true],
    [30, false],
    [31, false],
  ] as const) {
    now = start + days * day;
    t.equal(memory.refusesLargePayloads('us-east-1'), isKept, `${days} days`);
    t.equal(memory.refusesLargePayloads('eu-west-1'), false);
  }
});

t.test('a refusal of a clock that was far ahead does not hold for ever', async (t) => {
  let now = start + 1000 * day;
  const memory = payloadMemory(undefined, () => now);
  memory.rememberRefusal('us-east-1');
  now = start;
  t.equal(memory.refusesLargePayloads('us-east-1'), false);
});

t.test('the next process knows it, from a file that is ours alone', async (t) => {
  const path = file(t);
  payloadMemory(path, () => start).rememberRefusal('us-east-1');
  t.equal(payloadMemory(path, () => start).refusesLargePayloads('us-east-1'), true);
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.equal(statSync(dirname(path)).mode & 0o777, 0o700);
  t.strictSame(readdirSync(dirname(path)), ['payload-refusals.json'], 'nothing else is left there');
});

t.test('processes that run at the same time keep what the others found out', async (t) => {
  const path = file(t);
  const first = payloadMemory(path, () => start);
  const second = payloadMemory(path, () => start);
  first.rememberRefusal('us-east-1');
  second.rememberRefusal('eu-west-1');
  t.strictSame(Object.keys(JSON.parse(readFileSync(path, 'utf8'))).sort(), ['eu-west-1', 'us-east-1']);
});

t.test('a file that can not be read is no memory and no error, and is written anew', async (t) => {
  const path = file(t);
  mkdirSync(dirname(path));
  for (const text of ['', '{', 'null', '7', '[1,2]', '"x"', '{"us-east-1":"soon"}', `{"x":"${'y'.repeat(70_000)}"}`]) {
    writeFileSync(path, text);
    const memory = payloadMemory(path, () => start);
    t.equal(memory.refusesLargePayloads('us-east-1'), false);
    memory.rememberRefusal('us-east-1');
    t.equal(payloadMemory(path, () => start).refusesLargePayloads('us-east-1'), true, text.slice(0, 20));
  }
});

t.test('a file that can not be written is no error', async (t) => {
  const path = file(t);
  mkdirSync(dirname(path));
  mkdirSync(path);
  const memory = payloadMemory(path, () => start);
  memory.rememberRefusal('us-east-1');
  t.equal(memory.refusesLargePayloads('us-east-1'), true);
});
