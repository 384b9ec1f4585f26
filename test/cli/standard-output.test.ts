// What is shown comes whole, in order, whoever reads it at whatever pace; where it can't, that is said.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { resolve } from 'node:path';
import t from 'tap';

const source = (name: string) => JSON.stringify(resolve(import.meta.dirname, '../../src/cli', name));
const lines = 3_000;
const line = (at: number) => `${at} ${'x'.repeat(at % 300)}\n`;
/** As much as a pipe never takes at once. */
const whole = Array.from({ length: lines }, (_, at) => line(at)).join('');

/** Writes all, says so on stderr, and waits until all was taken. */
const writer = (isOpened: boolean) => `
  import { StandardOutput } from ${source('standard-output.ts')};
  ${isOpened ? 'process.stdout; // as yargs does: a pipe takes from now on what it has room for' : ''}
  const output = new StandardOutput();
  const line = ${line};
  for (let at = 0; at < ${lines}; at++) output.write(line(at));
  process.stderr.write('written');
  output.written().then(() => process.exit(0), (error) => {
    process.stderr.write(error.message);
    process.exit(1);
  });
`;
const args = (script: string) => ['--input-type=module', '-e', script];

t.test('a reader who begins late reads all', async (t) => {
  const child = spawn(process.execPath, args(writer(true)), { stdio: ['ignore', 'pipe', 'pipe'] });
  await once(child.stderr, 'data');
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    text += chunk;
  });
  const [status] = await once(child, 'close');
  t.equal(status, 0);
  t.ok(text === whole, `${text.length} of ${whole.length}`);
});

t.test('a pipe that makes its writer wait, and a file', async (t) => {
  t.ok(spawnSync(process.execPath, args(writer(false)), { encoding: 'utf8' }).stdout === whole);
  const path = `${t.testdir()}/out`;
  const file = openSync(path, 'w+');
  t.teardown(() => closeSync(file));
  spawnSync(process.execPath, args(writer(true)), { stdio: ['ignore', file, 'pipe'] });
  t.ok(spawnSync('cat', [path], { encoding: 'utf8' }).stdout === whole);
});

t.test('a reader who goes is no failure, and nobody waits for him', async (t) => {
  const child = spawn(process.execPath, args(writer(true)), { stdio: ['ignore', 'pipe', 'pipe'] });
  await once(child.stderr, 'data');
  child.stdout.destroy();
  t.same(await once(child, 'exit'), [0, null]);
});

t.test('a verb whose words can not be written fails, and says why', { skip: process.platform !== 'linux' }, (t) => {
  const full = openSync('/dev/full', 'w');
  t.teardown(() => closeSync(full));
  const script = `
    import { run } from ${source('run.ts')};
    run(['policy'], process.env, true).then((status) => process.exit(status));
  `;
  const { status, stderr } = spawnSync(process.execPath, args(script), {
    stdio: ['ignore', full, 'pipe'],
    encoding: 'utf8',
  });
  t.equal(status, 1);
  t.match(stderr, /^keyhole: what was to be shown could not be written: ENOSPC\nkeyhole: hint: [^\n]+\n$/);
  t.end();
});
