// keyhole is told to go, or its ssh goes away, at every stage of a connection: it is gone within 3 s, the session has
// ended at AWS, and stderr stays silent, since whoever did it knows.
import t, { type Test } from 'tap';
import { type Bench, goneWithinMs, instanceId, keyhole, openBench, type Running, until } from './fixture.ts';
import { startRaw } from './raw.ts';
import { startStall } from './stall.ts';

interface Event {
  name: string;
  happen(proxy: Running): void;
}

const signals: Event[] = (['SIGTERM', 'SIGINT', 'SIGHUP'] as const).map((signal) => ({
  name: signal,
  happen: ({ child }: Running) => void child.kill(signal),
}));
const all: Event[] = [{ name: 'end of file on stdin', happen: ({ child }) => child.stdin.end() }, ...signals];

interface Stage {
  bench: Bench;
  /** Default: all. */
  events?: Event[];
  port: string;
  /** Whether this many connections have come as far as this stage. */
  reached(count: number): boolean;
  status: 0 | 1;
  env?: Record<string, string>;
  /** What stdin gives before it stays open. */
  input?: Buffer;
  /** Leave stdout unread until keyhole is gone. */
  unread?: boolean;
  /** After the event. */
  afterwards?(): void;
}

async function told(t: Test, stage: Stage): Promise<void> {
  const { bench, events = all, port, reached, status, env = {}, input, unread = false } = stage;
  const proxies = events.map(() => bench.startProxy([instanceId, port], { input: 'open', env }));
  for (const { child } of proxies) {
    if (input !== undefined) child.stdin.write(input);
    if (!unread) continue;
    child.stdout.pause();
    child.once('exit', () => child.stdout.resume());
  }
  await until(
    'the stage is reached',
    () => reached(events.length),
    20_000,
    () => proxies.map((proxy) => proxy.stderr()).join(),
  );
  const start = performance.now();
  const ends = events.map(async ({ name, happen }, at) => {
    const proxy = proxies[at]!;
    happen(proxy);
    const result = await proxy.exit;
    return { name, ms: performance.now() - start, result };
  });
  stage.afterwards?.();
  for (const { name, ms, result } of await Promise.all(ends)) {
    t.ok(ms < goneWithinMs, `${name}: gone after ${Math.round(ms)} ms`);
    t.match(result, { status, signal: null, stderr: '' }, `${name}: exit status ${status} and nothing on stderr`);
  }
  await bench.gone();
}

const region = { quotas: { StartSession: 100, ResumeSession: 100, TerminateSession: 100 } };

t.test(
  'while StartSession is not answered; the answer that comes later leads to an end, not to a session',
  async (t) => {
    const bench = await openBench(t, { region });
    const stall = await startStall(t, bench.region.endpoint);
    stall.hold('answers');
    await told(t, {
      bench,
      port: '22',
      env: { AWS_ENDPOINT_URL_SSM: `http://${stall.authority}` },
      reached: (count) => bench.region.sessions.length === count,
      status: 1,
      afterwards: () => void setTimeout(() => stall.release(), 1_000),
    });
    t.equal(bench.region.sessions.length, all.length);
  },
);

t.test('while StartSession is never answered', async (t) => {
  const bench = await openBench(t, { region });
  const stall = await startStall(t, bench.region.endpoint);
  stall.hold('all');
  await told(t, {
    bench,
    port: '22',
    env: { AWS_ENDPOINT_URL_SSM: `http://${stall.authority}` },
    reached: (count) => stall.connections === count,
    status: 1,
  });
  t.strictSame(bench.region.sessions, []);
});

t.test('while the websocket is being dialled', async (t) => {
  let authority = '';
  const bench = await openBench(t, {
    region: { ...region, streamUrl: (url) => url.replace(/127\.0\.0\.1:\d+/, authority) },
  });
  const stall = await startStall(t, bench.region.endpoint);
  stall.hold('all');
  authority = stall.authority;
  await told(t, { bench, port: '22', reached: (count) => stall.connections === count, status: 1 });
});

t.test('during the handshake', async (t) => {
  const bench = await openBench(t, { region: { ...region, faults: { down: { lose: 1 } } } });
  await told(t, {
    bench,
    port: '22',
    reached: (count) => bench.region.sessions.filter(({ connected }) => connected).length === count,
    status: 1,
  });
});

t.test('while the target has not said anything yet', async (t) => {
  const silent = await startRaw(t, () => {});
  const bench = await openBench(t, { region, node: { ports: { 7: silent } } });
  await told(t, { bench, port: '7', reached: (count) => silent.sockets.length === count, status: 1 });
});

t.test('in the middle of a download that nobody reads', async (t) => {
  const source = await startRaw(t, (socket) => {
    const pump = () => {
      while (socket.write(Buffer.alloc(65_536)));
    };
    socket.on('drain', pump);
    pump();
  });
  const bench = await openBench(t, { region, node: { ports: { 19: source } } });
  await told(t, {
    bench,
    port: '19',
    unread: true,
    reached: (count) => bench.region.sessions.filter(({ traffic }) => traffic.down.bytes > 500_000).length === count,
    status: 0,
  });
});

t.test('in the middle of an upload that the target does not read', async (t) => {
  const sink = await startRaw(t, (socket) => socket.write('talks first'));
  const bench = await openBench(t, { region, node: { ports: { 9: sink } } });
  await told(t, {
    bench,
    port: '9',
    events: signals, // the end of file is behind bytes that nobody takes; see below
    input: Buffer.alloc(64 << 20),
    reached: (count) => bench.region.sessions.filter(({ traffic }) => traffic.up.bytes > 1_000_000).length === count,
    status: 0,
  });
});

t.test('who started it is killed in the middle of an upload that the target does not read', async (t) => {
  const sink = await startRaw(t, (socket) => socket.write('talks first'));
  const bench = await openBench(t, { region, node: { ports: { 9: sink } } });
  const command = `"${keyhole}" proxy --no-daemon -- ${instanceId} 9; exit 0`; // a shell that stays its parent
  const parent = bench.start('sh', ['-c', command], { input: 'open' });
  parent.child.stdin.write(Buffer.alloc(64 << 20));
  await until('keyhole takes no more', () => (bench.region.sessions[0]?.traffic.up.bytes ?? 0) > 4_000_000);
  t.equal(bench.proxies().length, 1);
  parent.child.kill('SIGKILL');
  await bench.gone();
});

t.test('ssh closes its reading side (EPIPE)', async (t) => {
  const chatty = await startRaw(t, (socket) => {
    socket.write('one');
    socket.on('data', (bytes) => socket.write(bytes));
  });
  const bench = await openBench(t, { region, node: { ports: { 7: chatty } } });
  const open = bench.startProxy([instanceId, '7'], { input: 'open' });
  await until('the tunnel is open', () => open.stdout().length === 3);
  open.child.stdout.destroy();
  open.child.stdin.write('two');
  const start = performance.now();
  t.match(await open.exit, { status: 0, signal: null, stderr: '' }, 'when it writes next, it ends');
  t.ok(performance.now() - start < goneWithinMs, 'in time');
  const opening = bench.startProxy([instanceId, '7'], { input: 'open' });
  opening.child.stdout.destroy();
  t.match(
    await opening.exit,
    { status: 0, signal: null, stderr: '' },
    'so it does where it was closed before the start',
  );
  await bench.gone();
});
