// What surrounds keyhole where ssh starts it: variables that make Node talk or break it, shells, folders. None of it
// may be seen by ssh.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { instanceId, keyhole, nodeId, openBench, type RunOptions } from './fixture.ts';

const has = (command: string) => spawnSync('sh', ['-c', `command -v ${command}`]).status === 0;

t.test('variables of Node', async (t) => {
  const bench = await openBench(t);
  const preload = bench.path('preload.cjs');
  writeFileSync(preload, 'console.log("from a preload"); console.error("from a preload");');
  const cases: Record<string, NonNullable<RunOptions['env']>> = {
    'a preload that prints, as VS Code sets one': { NODE_OPTIONS: `--require ${preload}` },
    'options that Node refuses': { NODE_OPTIONS: '--no-such-option' },
    'debugging output': { NODE_DEBUG: 'net,tls,http,fs,module', NODE_DEBUG_NATIVE: 'all' },
    'a stale NODE_CHANNEL_FD': { NODE_CHANNEL_FD: '3', NODE_CHANNEL_SERIALIZATION_MODE: 'json', NODE_UNIQUE_ID: '1' },
    'pending deprecations': { NODE_PENDING_DEPRECATION: '1' },
  };
  for (const [name, env] of Object.entries(cases)) {
    t.match(await bench.ssh([instanceId, 'echo works'], { env }), { status: 0, text: 'works\n', stderr: '' }, name);
  }
  await bench.gone();
});

t.test('shells that run the ProxyCommand', async (t) => {
  const bench = await openBench(t);
  for (const shell of ['sh', 'bash', 'dash', 'zsh', 'fish'].filter(has)) {
    const SHELL = spawnSync('sh', ['-c', `command -v ${shell}`], { encoding: 'utf8' }).stdout.trim();
    const result = await bench.ssh([instanceId, 'echo works'], { env: { SHELL } });
    t.match(result, { status: 0, text: 'works\n', stderr: '' }, SHELL);
  }
  await bench.gone();
});

t.test('places', async (t) => {
  const bench = await openBench(t);
  const works = { status: 0, text: 'works\n', stderr: '' };
  const gone = bench.path('gone');
  mkdirSync(gone);
  const fromNowhere = `cd "${gone}" && rmdir "${gone}" && exec ssh -F "${bench.config}" ${instanceId} echo works`;
  // Shells complain of it, keyhole does not.
  t.match(
    await bench.run('sh', ['-c', fromNowhere]),
    { ...works, stderr: /^(sh: .*\n)*$/ },
    'a working folder that is gone',
  );
  const link = bench.path('link to keyhole');
  symlinkSync(keyhole, link);
  const throughLink = ['-o', `ProxyCommand="${link}" proxy --no-daemon -- %h %p %r`, instanceId, 'echo works'];
  t.match(await bench.ssh(throughLink), works, 'a link with spaces in its name');
  t.match(await bench.ssh([instanceId, 'echo works'], { env: { HOME: '/nonexistent' } }), works, 'no home');
  const readOnly = bench.path('read-only');
  mkdirSync(readOnly);
  chmodSync(readOnly, 0o500);
  t.match(await bench.ssh([instanceId, 'echo works'], { env: { HOME: readOnly } }), works, 'a home that is read-only');
  t.match(await bench.ssh([nodeId, 'echo works']), works, 'a hybrid node');
  await bench.gone();
});

t.test('a certificate authority of one’s own, by AWS_CA_BUNDLE alone, for the API and the websocket', async (t) => {
  const bench = await openBench(t, { region: { tls: true } });
  const env = { NODE_EXTRA_CA_CERTS: undefined, SSL_CERT_FILE: undefined };
  t.match(await bench.ssh([instanceId, 'echo works'], { env }), { status: 0, text: 'works\n', stderr: '' });
  await bench.gone();
});
