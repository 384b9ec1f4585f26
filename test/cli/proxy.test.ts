// `keyhole proxy --no-daemon` as a process, run from the sources, against the simulated region: its ends above all. With
// the daemon: test/helper. The real ssh is in test/e2e.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { resolve } from 'node:path';
import t, { type Test } from 'tap';
import type { AgentLeg } from '../region/agent/agent.ts';
import type { RegionOptions } from '../region/options.ts';
import { type Region, startRegion } from '../region/region.ts';

const main = resolve(import.meta.dirname, '../../src/main.ts');
const target = 'i-0123456789abcdef0';

interface Proxy {
  child: ChildProcessWithoutNullStreams;
  stdout: () => string;
  stderr: () => string;
  /** Exit status, and how long ago `since` was. */
  ended: Promise<{ status: number | null; signal: string | null; at: number }>;
}

function startProxy(t: Test, region: Region, args: string[] = [target, '22'], env: Record<string, string> = {}): Proxy {
  const home = t.testdirName;
  const child = spawn(process.execPath, [main, 'proxy', '--no-daemon', ...args], {
    env: { PATH: process.env.PATH, HOME: home, ...region.env, ...env },
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  child.stdin.on('error', () => {});
  const ended = once(child, 'close').then(([status, signal]) => ({ status, signal, at: performance.now() }));
  t.teardown(() => {
    if (child.exitCode === null) child.kill('SIGKILL');
  });
  return { child, stdout: () => stdout, stderr: () => stderr, ended };
}

/** A target that greets, echoes, and closes after `bye`. */
async function startTarget(t: Test): Promise<{ host: string; port: number }> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.write('SSH-2.0-target\r\n');
    socket.on('data', (chunk) => {
      if (chunk.includes('bye')) socket.end('gone');
      else socket.write(chunk);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => new Promise((done) => server.close(done)));
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

async function setUp(t: Test, options: RegionOptions = {}): Promise<Region> {
  t.testdir({});
  const region = await startRegion({
    nodes: [{ instanceId: target, ports: { 22: await startTarget(t) } }],
    ...options,
  });
  t.teardown(() => region.stop());
  return region;
}

/** An agent that never says anything, so that a tunnel stays half open. */
function muteAgent(): AgentLeg {
  return {
    send: () => true,
    onMessage() {},
    onEnd() {},
    onDrain() {},
    pause() {},
    resume() {},
    cancel(reason) {
      this.onEnd({ output: reason });
    },
    close() {},
  };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}

const open = (region: Region) => region.sessions.filter((session) => session.endDate === undefined).length;

t.test('bytes pass both ways, and the target closes', async (t) => {
  const region = await setUp(t);
  const proxy = startProxy(t, region);
  proxy.child.stdin.write('hello');
  await until(() => proxy.stdout().includes('hello'));
  proxy.child.stdin.write('bye');
  t.match(await proxy.ended, { status: 0, signal: null });
  t.equal(proxy.stdout(), 'SSH-2.0-target\r\nhellogone');
  t.equal(proxy.stderr(), '');
  t.equal(open(region), 0);
});

t.test('killed, it leaves its session to the next one, which ends it', async (t) => {
  const region = await setUp(t);
  const killed = startProxy(t, region);
  await until(() => killed.stdout().includes('SSH-2.0'));
  killed.child.kill('SIGKILL');
  await killed.ended;
  t.equal(open(region), 1);
  const next = startProxy(t, region);
  await until(() => next.stdout().includes('SSH-2.0') && open(region) === 1);
  next.child.stdin.end();
  t.match(await next.ended, { status: 0 });
  t.equal(open(region), 0);
});

const endings: [string, (proxy: Proxy) => void][] = [
  ['SIGHUP', ({ child }) => child.kill('SIGHUP')],
  ['SIGTERM', ({ child }) => child.kill('SIGTERM')],
  ['SIGINT', ({ child }) => child.kill('SIGINT')],
  ['the end of stdin', ({ child }) => child.stdin.end()],
  [
    'a closed stdout',
    ({ child }) => {
      child.stdout.destroy();
      child.stdin.write('echo this');
    },
  ],
];

for (const [name, end] of endings) {
  t.test(`after ${name} it is gone within 3 s, silently, and so is the session`, async (t) => {
    const region = await setUp(t);
    const proxy = startProxy(t, region);
    await until(() => proxy.stdout() !== '');
    const since = performance.now();
    end(proxy);
    const { status, at } = await proxy.ended;
    t.equal(status, 0);
    t.ok(at - since < 3_000, `${Math.round(at - since)} ms`);
    t.equal(proxy.stderr(), '');
    t.equal(open(region), 0);
  });
}

for (const [name, end] of endings.slice(0, 4)) {
  t.test(`${name} while the tunnel is being opened ends the session that was started`, async (t) => {
    const region = await setUp(t, { startAgent: muteAgent });
    const proxy = startProxy(t, region);
    await until(() => region.sessions.length === 1);
    const since = performance.now();
    end(proxy);
    const { status, at } = await proxy.ended;
    t.equal(status, 1);
    t.ok(at - since < 3_000, `${Math.round(at - since)} ms`);
    t.equal(proxy.stderr(), '');
    t.equal(open(region), 0);
  });
}

t.test('the deadline ends a tunnel that does not open, and says so', async (t) => {
  const region = await setUp(t, { startAgent: muteAgent });
  const proxy = startProxy(t, region, ['--deadline=1500ms', target, '22']);
  t.match(await proxy.ended, { status: 1 });
  t.match(proxy.stderr(), /^keyhole: no connection to i-0123456789abcdef0 within 1500ms\nkeyhole: hint: .*\n$/);
  t.equal(open(region), 0);
});

t.test('a port on which nothing answers is reported, and its session ended', async (t) => {
  const region = await setUp(t);
  const proxy = startProxy(t, region, ['--first-byte-timeout=1s', target, '23']);
  t.match(await proxy.ended, { status: 1 });
  t.match(proxy.stderr(), /^keyhole: nothing answers on port 23 of i-0123456789abcdef0 \(1 s\)\nkeyhole: hint: .*\n$/);
  t.equal(open(region), 0);
});

t.test('what is used wrongly starts nothing', async (t) => {
  const region = await setUp(t);
  const wrong: [string[], Record<string, string>, RegExp][] = [
    [['--', '-oProxyCommand=x', '22'], {}, /is not a host/],
    [[target, '22;id'], {}, /is not a port/],
    [[target, '22'], { KEYHOLE_MAX_PAYLOAD_BYTES: '12' }, /KEYHOLE_MAX_PAYLOAD_BYTES in the environment is "12"/],
    [[target, '22'], { KEYHOLE_LOG_FILE: '/nonexistent/folder/log' }, /cannot write to the log file/],
    [[`${target}.nobody`, '22'], {}, /AWS profile nobody is not/],
    [[target, '22'], { AWS_REGION: '', AWS_DEFAULT_REGION: '' }, /no AWS region/],
    [[target, '22'], { AWS_CA_BUNDLE: '/nonexistent/ca.pem' }, /cannot read AWS_CA_BUNDLE/],
  ];
  await Promise.all(
    wrong.map(async ([args, env, message]) => {
      const proxy = startProxy(t, region, args, env);
      t.match(await proxy.ended, { status: 2 }, message.source);
      t.match(proxy.stderr(), message);
      t.equal(proxy.stdout(), '');
      t.match(proxy.stderr(), /^keyhole: [^\n]+\n(keyhole: hint: [^\n]+\n)?$/, 'one line and one hint');
    }),
  );
  t.equal(region.requests.length, 0);
});
