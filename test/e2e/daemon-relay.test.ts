// Clients that take no descriptor: the helper relays, without being told (issue 3). Pipes as paramiko and asyncssh give
// them, two sockets as Node's clients do, ssh without ProxyUseFdpass.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type DaemonBench, kill, openDaemonBench, works } from './daemon-bench.ts';
import { goneWithinMs, keyhole, leaveAfterBanner, type Running, type RunOptions, until } from './fixture.ts';
import { pattern, startRaw } from './raw.ts';

/** The helper by hand, through which sshd has spoken. */
async function startHelper(bench: DaemonBench, options: RunOptions = {}): Promise<Running> {
  const operands = [bench.instances[0]!, '22', bench.sshd.user];
  const helper = bench.start(keyhole, ['proxy', '--', ...operands], { input: 'open', ...options });
  await until('sshd speaks', () => helper.stdout().includes('\n'), 20_000, helper.stderr);
  return helper;
}

t.test('ssh without ProxyUseFdpass', async (t) => {
  const bench = await openDaemonBench(t);
  bench.configure({ lines: ['Host *', '  ProxyUseFdpass no'] });
  t.match(await bench.works(), works);
  const bytes = pattern(1_000_000, 5);
  t.match(await bench.ssh([bench.instances[0]!, 'cat'], { input: bytes }), { status: 0, stdout: bytes, stderr: '' });
  await bench.idle();
  t.equal(bench.daemons().length, 1, 'by the daemon');
  t.same(new Set(bench.region.sessions.map(({ target }) => target)), new Set(bench.instances));
});

t.test('a client that gives two sockets, as Node does, and one that gives pipes', async (t) => {
  const bench = await openDaemonBench(t);
  const helper = await startHelper(bench);
  t.match(helper.stdout().toString(), /^SSH-2\.0-/);
  helper.child.stdin.end();
  t.match(await helper.exit, { status: 0, signal: null, stderr: '' }, 'its end of file is the end, in silence');
  const piped = `cat | '${keyhole}' proxy -- ${bench.instances[0]} 22 ${bench.sshd.user} | cat`;
  t.match(await leaveAfterBanner(bench.start('sh', ['-c', piped], { input: 'open' })), {
    status: 0,
    text: /^SSH-2\.0-/,
    stderr: '',
  });
  await bench.idle();
});

t.test('whoever gives no input at all is told what is wrong with the settings', async (t) => {
  const bench = await openDaemonBench(t);
  const command = `'${keyhole}' proxy -- ${bench.instances[0]} 22 </dev/null`;
  const wrong = await bench.run('sh', ['-c', `KEYHOLE_DEADLINE=soon ${command}`]);
  t.match(wrong, { status: 2, stderr: /^keyhole: KEYHOLE_DEADLINE .*soon/ });
  t.match(await bench.run('sh', ['-c', command]), { stderr: '' }, 'and nothing where nothing is');
  await bench.idle();
});

t.test('the client ends, or the helper is told to', async (t) => {
  const bench = await openDaemonBench(t);
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT'] as const) {
    const helper = await startHelper(bench);
    const start = performance.now();
    helper.child.kill(signal);
    t.match(await helper.exit, { signal: null, stderr: '' }, `${signal}: in silence`);
    t.ok(performance.now() - start < goneWithinMs);
    await bench.idle();
  }
  const parent = bench.start('sh', ['-c', `'${keyhole}' proxy -- ${bench.instances[0]} 22; :`], { input: 'open' });
  await until('sshd speaks', () => parent.stdout().includes('\n'), 20_000, parent.stderr);
  parent.child.kill('SIGKILL');
  parent.child.stdin.destroy();
  await bench.idle();
});

t.test('the target ends, or the daemon does, while the client says nothing', async (t) => {
  const raw = await startRaw(t, (socket) => socket.end('SSH-2.0-bye\r\n'));
  const bench = await openDaemonBench(t, { ports: { 7: raw } });
  const last = bench.start(keyhole, ['proxy', '--', bench.instances[0]!, '7'], { input: 'open' });
  t.match(await last.exit, { status: 0, text: 'SSH-2.0-bye\r\n', stderr: '' }, 'with its last words');
  await bench.idle();
  const helper = await startHelper(bench);
  kill(bench.daemons()[0]!, 'SIGKILL');
  const { status, signal, stderr } = await helper.exit;
  t.match({ status, signal, stderr }, { status: 0, signal: null, stderr: '' });
  t.match(await bench.works(), works);
});

t.test('an error before ssh can talk is two lines', async (t) => {
  const bench = await openDaemonBench(t);
  const result = await bench.run(keyhole, ['proxy', '--', 'i-00000000000000000', '22'], {
    input: 'open',
  });
  t.match(result, {
    status: 1,
    text: '',
    stderr: /^keyhole: i-0{17} is not connected[^\n]*\nkeyhole: hint: [^\n]*\n$/,
  });
  t.match(await bench.run(keyhole, ['proxy', '--', 'not a host', '22']), {
    status: 2,
    text: '',
    stderr: /^keyhole: /,
  });
  t.match((await bench.failures()).map(({ host }) => host).includes('i-00000000000000000'), true);
});

const python = '/usr/bin/python3';
const clients: Record<string, (options: Record<string, string>) => string> = {
  paramiko: ({ host, user, command, agent }) => `
import os, paramiko
os.environ['SSH_AUTH_SOCK'] = '${agent}'
client = paramiko.SSHClient()
client.load_host_keys('known_hosts')
client.connect('${host}', username='${user}', sock=paramiko.ProxyCommand('${command}'), allow_agent=True, look_for_keys=False)
_, out, _ = client.exec_command('echo works; head -c 300000 /dev/zero | wc -c')
print(out.read().decode(), end='')
client.close()
`,
  asyncssh: ({ host, user, command, agent }) => `
import asyncio, asyncssh
async def main():
    async with asyncssh.connect('${host}', username='${user}', proxy_command='${command}', agent_path='${agent}',
                                known_hosts='known_hosts', config=[]) as connection:
        result = await connection.run('echo works; head -c 300000 /dev/zero | wc -c', check=True)
        print(result.stdout, end='')
asyncio.run(main())
`,
};

for (const [name, script] of Object.entries(clients)) {
  const missing = spawnSync(python, ['-W', 'ignore', '-c', `import ${name}`]).status !== 0;
  const skip = missing && `python3-${name} is not installed`;
  t.test(`${name}, by the general agent socket`, { skip }, async (t) => {
    const bench = await openDaemonBench(t);
    const [host] = bench.instances;
    // It looks at the agent before, or after, or while it starts the ProxyCommand.
    t.match(await bench.keyhole(['daemon', 'start']), { status: 0 });
    const command = `${keyhole} proxy -- ${host} 22 ${bench.sshd.user}`;
    const agent = join(bench.sshDir, 'agent.sock');
    writeFileSync(bench.path('client.py'), script({ host: host!, user: bench.sshd.user, command, agent }));
    const result = await bench.run(python, ['-W', 'ignore', 'client.py'], { cwd: bench.folder });
    t.match(result, { status: 0, text: 'works\n300000\n', stderr: '' });
    await bench.idle();
  });
}
