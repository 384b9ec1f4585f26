import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import t from 'tap';

t.test('garbage is collected at the end and not before, and the exit status stays', async (t) => {
  const script = `
    import { collectAtEnd } from ${JSON.stringify(resolve(import.meta.dirname, '../src/process-end.ts'))};
    const [one, other] = [new WeakRef({}), new WeakRef({})]; // who has looked at one keeps it for that turn
    const show = (object) => process.stdout.write(object.deref() === undefined ? 'gone ' : 'there ');
    process.on('exit', () => show(one));
    collectAtEnd();
    collectAtEnd();
    process.on('exit', () => show(other));
    setTimeout(() => process.exit(7));
  `;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
  });
  t.same({ status, stdout, stderr }, { status: 7, stdout: 'there gone ', stderr: '' });
});
