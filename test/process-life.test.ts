// Whether a process lives, with the cases in which its id says otherwise.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { isProcessAlive, processStart } from '../src/process-life.ts';

t.test('a process that runs is alive, one that has ended is not', async (t) => {
  t.ok(isProcessAlive(process.pid));
  t.ok(isProcessAlive(1), 'somebody else’s too');
  const child = spawn('true');
  await once(child, 'exit');
  t.notOk(isProcessAlive(child.pid!));
  t.equal(processStart(child.pid!), undefined);
});

t.test('one that began at another time is another one', { skip: process.platform !== 'linux' }, async (t) => {
  const start = processStart(process.pid)!;
  t.ok(start > 0);
  t.ok(isProcessAlive(process.pid, start));
  t.notOk(isProcessAlive(process.pid, start - 1));
});

t.test('one that ended and was not asked for is not alive', { skip: process.platform !== 'linux' }, async (t) => {
  // sleep does not know of the child that the shell had.
  const parent = spawn('sh', ['-c', 'sleep 0.2 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] });
  t.teardown(() => parent.kill());
  const pid = Number(await new Promise((resolve) => parent.stdout.once('data', resolve)));
  while (!/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1')))
    await new Promise((resolve) => setImmediate(resolve));
  t.notOk(isProcessAlive(pid));
});
