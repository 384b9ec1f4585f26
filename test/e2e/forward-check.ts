// Local tunnels with the programs that people use them for: psql, pgbench and redis-benchmark, each through one session;
// and how much one stream that stops takes from 19 others. Run by scripts/forward-check; what it measures it prints.
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Test } from 'tap';
import t from 'tap';
import { type DaemonBench, openDaemonBench } from './daemon-bench.ts';
import { hasRedis, postgresPrograms, startPostgres, startRedis } from './databases.ts';
import { startRaw } from './raw.ts';
import { open, startForward, type Tunnel } from './tunnels.ts';

/** Ends the tunnel; everything went through one session, and nothing is left. */
async function finish(t: Test, bench: DaemonBench, tunnel: Tunnel): Promise<void> {
  t.equal(bench.region.sessions.length, 1, 'one session');
  await tunnel.interrupt();
  t.match(tunnel.events().at(-1), { type: 'total', failed: 0 }, 'no connection failed');
  await bench.idle();
}

const programs = postgresPrograms();
const noPostgres = programs === undefined && 'PostgreSQL is not installed (apt-get install postgresql)';

t.test('PostgreSQL: psql, and pgbench with 20 clients', { skip: noPostgres }, async (t) => {
  const bench = await openDaemonBench(t, { ports: { 5432: await startPostgres(t, programs!) } });
  const tunnel = await startForward(bench, [bench.instances[0]!, '0:5432']);
  const env = { PGHOST: '127.0.0.1', PGPORT: String(tunnel.ports[0]), PGUSER: 'postgres', PGDATABASE: 'postgres' };
  const run = async (name: string, ...args: string[]) => {
    const result = await bench.run(join(programs!, name), args, { env, timeoutMs: 120_000 });
    t.equal(result.status, 0, `${name} ${args.join(' ')}: ${result.stderr}`);
    return result.text;
  };
  t.equal(
    await run('psql', '-XAtc', "select sum(length(repeat('x', 1000))) from generate_series(1, 1000)"),
    '1000000\n',
  );
  await run('pgbench', '-i', '-q', '-s', '2');
  for (const protocol of ['simple', 'prepared']) {
    const report = await run('pgbench', '-c', '20', '-j', '2', '-t', '100', '-M', protocol);
    t.match(report, 'number of transactions actually processed: 2000/2000');
    t.match(report, 'number of failed transactions: 0 (0.000%)');
    t.comment(`pgbench -c 20 -M ${protocol}: ${/tps = [\d.]+/.exec(report)?.[0]}`);
  }
  // Each run of pgbench begins with an empty history.
  t.equal(await run('psql', '-XAtc', 'select count(*) from pgbench_history'), '2000\n');
  await finish(t, bench, tunnel);
});

t.test(
  'Redis: redis-benchmark',
  { skip: !hasRedis() && 'Redis is not installed (apt-get install redis-server)' },
  async (t) => {
    const bench = await openDaemonBench(t, { ports: { 6379: await startRedis(t) } });
    const tunnel = await startForward(bench, [bench.instances[0]!, '0:6379']);
    for (const args of [
      ['-n', '4000', '-c', '50', '-t', 'set,get,incr,lpush'],
      ['-n', '20', '-c', '10', '-d', '100000', '-t', 'set,get'],
    ]) {
      const all = ['-h', '127.0.0.1', '-p', String(tunnel.ports[0]), '-q', ...args];
      const { status, text, stderr } = await bench.run('redis-benchmark', all, { timeoutMs: 120_000 });
      t.equal(status, 0, stderr);
      t.notMatch(text, /error|refused|closed/i);
      for (const line of text.split(/[\r\n]+/).filter((part) => part.includes('requests per second')))
        t.comment(line.trim());
    }
    await finish(t, bench, tunnel);
  },
);

/** Does as the first byte says: echoes, gives without end, or stops reading. */
function serve(socket: Socket): void {
  socket.once('data', (first) => {
    if (first[0] === 0x65) {
      socket.write(first);
      socket.pipe(socket);
    } else if (first[0] === 0x67) {
      const more = () => {
        while (socket.writable && socket.write(Buffer.alloc(65_536, 'g')));
      };
      socket.on('drain', more);
      more();
    } else {
      socket.pause();
    }
  });
}

class Talker {
  readonly socket: Socket;
  bytes = 0;

  constructor(port: number, manner: 'e' | 'g') {
    this.socket = open(port);
    this.socket.on('error', () => {});
    this.socket.write(manner === 'e' ? Buffer.alloc(1024, 'e') : 'g');
    this.socket.on('data', (chunk: Buffer) => {
      this.bytes += chunk.length;
      if (manner === 'e') this.socket.write(chunk);
    });
  }
}

/** Bytes per second of all. */
async function rate(talkers: Talker[]): Promise<number> {
  const count = () => talkers.reduce((sum, { bytes }) => sum + bytes, 0);
  const [before, start] = [count(), performance.now()];
  await delay(5_000);
  return ((count() - before) * 1000) / (performance.now() - start);
}

for (const [what, manner, stop] of [
  ['a client that stops reading a download', 'g', 'g'],
  ['a server that stops reading an upload', 'e', 's'],
] as const) {
  t.test(`${what} does not slow the other 19 by more than half`, async (t) => {
    const bench = await openDaemonBench(t, { ports: { 7: await startRaw(t, serve) } });
    const tunnel = await startForward(bench, [bench.instances[0]!, '0:7']);
    const port = tunnel.ports[0]!;
    const talkers = Array.from({ length: 19 }, () => new Talker(port, manner));
    await Promise.all(talkers.map(({ socket }) => once(socket, 'data')));
    await delay(2_000);
    const without = await rate(talkers);
    const stopped = open(port);
    stopped.on('error', () => {});
    stopped.pause();
    const push = () => {
      while (stopped.write(Buffer.alloc(65_536, stop)));
    };
    if (stop === 's') {
      stopped.on('drain', push);
      push();
    } else {
      stopped.write(stop);
    }
    await delay(5_000);
    const beside = await rate(talkers);
    const [kBs, kBsBeside] = [without, beside].map((bytes) => Math.round(bytes / 1000));
    t.ok(beside >= without / 2, `19 streams have ${kBs} kB/s alone and ${kBsBeside} kB/s beside it`);
    t.comment(`19 streams: ${kBs} kB/s alone, ${kBsBeside} kB/s beside ${what}`);
    t.equal(bench.region.sessions.length, 1, 'one session');
    for (const { socket } of talkers) socket.destroy();
    stopped.destroy();
    await tunnel.interrupt();
    await bench.idle();
  });
}
