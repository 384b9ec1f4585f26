import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import t from 'tap';

t.test('garbage is collected once, at the end, and the exit status stays', async (t) => {
  const script = `
    import { collectAtEnd } from ${JSON.stringify(resolve(import.meta.dirname, '../src/process-end.ts'))};
    collectAtEnd();
    collectAtEnd();
    let isLeft = new WeakRef({});
    setTimeout(() => {
      process.on('exit', () => process.stdout.write(String(isLeft.deref() === undefined)));
      process.exit(7);
    }, 10);
  `;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
  });
  t.same({ status, stdout, stderr }, { status: 7, stdout: 'true', stderr: '' });
});
