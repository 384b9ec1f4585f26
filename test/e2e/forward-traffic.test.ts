// What goes through a local tunnel: HTTP with many requests at once, ends of all kinds, a cut, and streams that stop.
import { once } from 'node:events';
import { Agent, createServer, request } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Test } from 'tap';
import t from 'tap';
import { openDaemonBench } from './daemon-bench.ts';
import { until } from './fixture.ts';
import { pattern, startRaw } from './raw.ts';
import { ask, open, sha256, startForward } from './tunnels.ts';

/** Answers with as many bytes as the path says, and what it makes of the body. */
async function startHttp(t: Test): Promise<{ host: string; port: number }> {
  const server = createServer((incoming, response) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      response.setHeader('x-body', sha256(Buffer.concat(chunks)));
      response.end(pattern(Number(incoming.url!.slice(1)), 7));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

interface Exchange {
  up: number;
  down: number;
}

async function post(port: number, agent: Agent, { up, down }: Exchange): Promise<boolean> {
  const body = pattern(up, up + 1);
  return await new Promise((resolve, reject) => {
    const outgoing = request({ host: '127.0.0.1', port, path: `/${down}`, method: 'POST', agent }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const answer = Buffer.concat(chunks);
        resolve(response.headers['x-body'] === sha256(body) && answer.equals(pattern(down, 7)));
      });
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

t.test('200 HTTP requests at once and large bodies both ways, over one session', async (t) => {
  const bench = await openDaemonBench(t, { ports: { 80: await startHttp(t) } });
  const tunnel = await startForward(bench, [bench.instances[0]!, '0:80']);
  const agent = new Agent({ keepAlive: true, maxSockets: 200 });
  t.teardown(() => agent.destroy());
  const exchanges: Exchange[] = Array.from({ length: 198 }, (_, at) => ({ up: (at * 331) % 65_536, down: at * 41 }));
  exchanges.push({ up: 6_000_000, down: 0 }, { up: 10, down: 400_000 });
  const results = await Promise.all(exchanges.map((exchange) => post(tunnel.ports[0]!, agent, exchange)));
  t.ok(
    results.every((equal) => equal),
    'every body is what it was, both ways',
  );
  t.equal(bench.region.sessions.length, 1, 'one session');
  const status = await bench.status();
  t.match(status?.forwards[0]?.ends[0], { connections: 200, sessions: [{ connections: 200 }] });
  agent.destroy();
  const closed = () => tunnel.events().filter(({ type }) => type === 'closed').length;
  await until('all are told to be closed', () => closed() === 200);
  await tunnel.interrupt();
  t.match(tunnel.events().at(-1), { type: 'total', connections: 200, failed: 0 });
  await bench.idle();
});

/** Does as the first byte says. */
function serveAnything(socket: Socket): void {
  socket.once('data', (first) => {
    const manner = String.fromCharCode(first[0]!);
    if (manner === 'e') {
      socket.write(first);
      socket.pipe(socket);
    } else if (manner === 's') {
      socket.pause();
    } else if (manner === 'a') {
      // Answers at leisure, whatever has become of the asking side.
      setTimeout(() => socket.end(pattern(50_000)), 300);
    } else if (manner === 'g') {
      const more = () => {
        while (socket.writable && socket.write(Buffer.alloc(65_536, 'g')));
      };
      socket.on('drain', more);
      more();
    } else {
      socket.destroy();
    }
  });
}

async function openAnything(t: Test) {
  const bench = await openDaemonBench(t, { ports: { 7: await startRaw(t, serveAnything) } });
  const tunnel = await startForward(bench, [
    bench.instances[0]!,
    '0:7',
    '0:9',
    '0:db.internal:7',
    '0:169.254.169.254:80',
  ]);
  return { bench, tunnel, port: tunnel.ports[0]! };
}

t.test('connections end as their servers and clients wish', async (t) => {
  const { bench, tunnel, port } = await openAnything(t);

  const answer = await ask(port, 'a question, and then nothing more', true);
  t.ok(answer.bytes.equals(pattern(50_000)), 'a client that shuts down its writing side early gets the whole answer');
  t.equal(answer.code, undefined);

  const closed = await ask(port, 'x');
  t.same([closed.bytes.length, closed.code], [0, undefined], 'a server that closes shows as a close');

  for (const [refusing, code] of [
    [tunnel.ports[1]!, 'port-refused'],
    [tunnel.ports[2]!, 'destination-refused'],
    [tunnel.ports[3]!, 'destination-refused'],
  ] as const) {
    const refused = await ask(refusing, 'hello');
    t.equal(refused.code, 'ECONNRESET', `${code} shows as a reset`);
    const event = () => tunnel.events().at(-1) as { failure?: { code: string } };
    await until('it is told', () => event().failure !== undefined);
    t.match(event(), { type: 'closed', failure: { code } });
  }
  t.match((await bench.failures()).at(-1), { code: 'destination-refused', port: '80' });

  const talker = open(port);
  talker.write('e');
  await once(talker, 'data');
  talker.destroy();
  await until('the server hears of a client that is gone', async () => {
    return (await bench.status())!.forwards[0]!.ends[0]!.connections === 0;
  });
  await tunnel.interrupt();
  await bench.idle();
});

/** Sends and gets back what it sent, in pieces, until `bytes` have come. */
function echo(port: number, bytes: Buffer, onProgress: (received: number) => void = () => {}): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = open(port);
    const chunks: Buffer[] = [];
    let received = 0;
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`closed after ${received} bytes`)));
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      received += chunk.length;
      onProgress(received);
      if (received < bytes.length) return;
      resolve(Buffer.concat(chunks));
      socket.destroy();
    });
    socket.write(bytes);
  });
}

t.test('all streams survive a cut in the middle of their transfers', async (t) => {
  const { bench, tunnel, port } = await openAnything(t);
  const sent = Array.from({ length: 10 }, (_, at) => Buffer.concat([Buffer.from('e'), pattern(40_000, at + 1)]));
  const total = sent.reduce((sum, { length }) => sum + length, 0);
  const progress = sent.map(() => 0);
  const cuts = [
    () => bench.region.cut({ by: 'reset' }),
    () => bench.region.cutAgent(),
    () => bench.region.cut({ by: 'close', code: 1000, reason: 'Bye' }),
  ];
  const echoes = sent.map((bytes, at) =>
    echo(port, bytes, (received) => {
      progress[at] = received;
      const share = progress.reduce((sum, each) => sum + each) / total;
      // After a fifth, two fifths and three fifths of all.
      if (share > (4 - cuts.length) / 5) cuts.shift()?.();
    }),
  );
  const received = await Promise.all(echoes);
  t.equal(cuts.length, 0, 'it was cut three times');
  t.ok(
    received.every((bytes, at) => bytes.equals(sent[at]!)),
    'every stream has its own bytes, once and in order',
  );
  const [end] = (await bench.status())!.forwards[0]!.ends;
  t.ok(end!.sessions[0]!.resumes >= 1, 'the session was resumed');
  t.equal(bench.region.sessions.length, 1);
  await tunnel.interrupt();
  await bench.idle();
});

t.test('a server that stops reading and a client that stops reading do not stop the other streams', async (t) => {
  const { bench, tunnel, port } = await openAnything(t);
  const talkers = Array.from({ length: 18 }, () => {
    const socket = open(port);
    const counter = { exchanges: 0 };
    socket.on('error', () => {});
    let missing = 0;
    const say = () => {
      missing = 512;
      socket.write(Buffer.alloc(missing, 'e'));
    };
    socket.on('data', (chunk: Buffer) => {
      missing -= chunk.length;
      if (missing > 0) return;
      counter.exchanges += 1;
      say();
    });
    say();
    return { socket, counter };
  });
  const rounds = (least: number) => () => talkers.every(({ counter }) => counter.exchanges >= least);
  await until('all talk', rounds(3), 30_000);

  const upload = open(port);
  upload.on('error', () => {});
  const chunk = Buffer.alloc(65_536, 's');
  let wanted = 0;
  const push = () => {
    while (wanted < 24_000_000 && upload.write(chunk)) wanted += chunk.length;
    wanted += chunk.length;
  };
  upload.on('drain', push);
  push();
  const download = open(port);
  download.on('error', () => {});
  download.write('g');
  download.pause();

  const end = async () => (await bench.status())!.forwards[0]!.ends[0]!;
  await until('the upload has what it may have', async () => (await end()).bytesSent > 2_000_000, 30_000);
  const before = talkers.map(({ counter }) => counter.exchanges);
  await until(
    'all others go on',
    () => talkers.every(({ counter }, at) => counter.exchanges >= before[at]! + 5),
    40_000,
    () => talkers.map(({ counter }, at) => counter.exchanges - before[at]!).join(' '),
  );
  t.ok((await end()).bytesSent < 12_000_000, 'the upload is not let through');
  t.equal(bench.region.sessions.length, 1);
  await echo(port, Buffer.from('e, a further one'));
  t.equal(bench.region.sessions.length, 2, 'who comes now does not have to share with the upload');
  for (const { socket } of talkers) socket.destroy();
  upload.destroy();
  download.destroy();
  await tunnel.interrupt();
  await bench.idle();
});
