import t from 'tap';
import { ownProcessors, parseProcessors } from './processors.ts';

t.test("taskset's list", (t) => {
  const of = (list: string) => parseProcessors(`pid 1234's current affinity list: ${list}\n`);
  t.strictSame(of('0'), [0]);
  t.strictSame(of('0,1'), [0, 1]);
  t.strictSame(of('0-2,5,10-11'), [0, 1, 2, 5, 10, 11]);
  t.strictSame(parseProcessors(''), []);
  t.strictSame(parseProcessors('taskset: failed'), []);
  t.end();
});

t.test('what this process may run on is known, or nothing is said', (t) => {
  const found = ownProcessors();
  t.ok(found.every((each) => Number.isInteger(each) && each >= 0));
  t.equal(new Set(found).size, found.length);
  t.end();
});
