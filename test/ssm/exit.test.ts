// Nothing is left of a session: the process that had it ends by itself.
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { type Stage, stage, until } from './stage.ts';

interface Run {
  child: ChildProcess;
  output: () => string;
  hasExited: () => boolean;
}

function run(t: Test, { gateway }: Stage, how: string): Run {
  const child = fork(fileURLToPath(new URL('one-session.ts', import.meta.url)), [String(gateway.port), how], {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  let output = '';
  child.stdout!.on('data', (chunk) => {
    output += chunk;
  });
  let hasExited = false;
  child.on('close', () => {
    hasExited = true;
  });
  t.teardown(() => child.kill('SIGKILL'));
  return { child, output: () => output, hasExited: () => hasExited };
}

for (const how of ['end', 'destroy']) {
  t.test(`after ${how}() the process ends by itself`, async (t) => {
    const scene = await stage(t);
    const { child, output, hasExited } = run(t, scene, how);
    await until(() => output().includes('open'));
    scene.agent.send('hello');
    await until(hasExited);
    t.equal(child.exitCode, 0);
    t.equal(output(), 'open\nclosed start\n');
    t.equal(scene.agent.text, how === 'end' ? 'hellobye' : 'hello');
  });
}

t.test('after the end of the target the process ends by itself', async (t) => {
  const scene = await stage(t);
  const { child, output, hasExited } = run(t, scene, 'wait');
  await until(() => output().includes('open'));
  scene.agent.send('hello');
  scene.agent.end();
  await until(hasExited);
  t.equal(child.exitCode, 0);
  t.equal(output(), 'open\nclosed start\n');
});

t.test('after a refused dial the process ends by itself', async (t) => {
  const scene = await stage(t);
  scene.gateway.onDial = (dial) => {
    dial.refuse(403, 'no');
    return 'handled';
  };
  const { child, output, hasExited } = run(t, scene, 'wait');
  await until(hasExited);
  t.equal(child.exitCode, 0);
  t.equal(output(), 'gateway-refused start terminate\n');
});

t.test('after giving up a dial the process ends by itself', async (t) => {
  const scene = await stage(t);
  scene.gateway.onDial = () => 'handled';
  const { child, output, hasExited } = run(t, scene, 'wait');
  await until(() => scene.gateway.dials.length === 1);
  child.send('abort');
  await until(hasExited);
  t.equal(child.exitCode, 0);
  t.equal(output(), 'interrupted start terminate\n');
});
