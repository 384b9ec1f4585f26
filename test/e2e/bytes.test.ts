// stdout carries the peer's bytes and nothing else, whatever they are and however they are cut, and stderr nothing at all.
import { once } from 'node:events';
import type { Socket } from 'node:net';
import t from 'tap';
import { instanceId, openBench, until } from './fixture.ts';
import { pattern, startRaw } from './raw.ts';

/** Speaks first, as sshd does: keyhole waits for it. */
const greeting = Buffer.from('ready');
function echo(socket: Socket): void {
  socket.write(greeting);
  socket.on('data', (bytes) => socket.write(bytes));
}

const cases: [string, Buffer[]][] = [
  // The reference client turns it into a carriage return (protocol.md 6.4).
  ['a line feed alone', [Buffer.of(0x0a)]],
  ['a carriage return alone', [Buffer.of(0x0d)]],
  ['bytes one at a time, all values', Array.from({ length: 256 }, (_, value) => Buffer.of(value))],
  ['line feeds one at a time', Array.from({ length: 20 }, () => Buffer.of(0x0a))],
  ['1 MiB at once', [pattern(1 << 20)]],
  ['zeros', [Buffer.alloc(200_000)]],
  [
    'sizes around that of a message',
    [1023, 1024, 1025, 2047, 2048, 2049, 32_767, 32_768, 32_769].map((n) => pattern(n, n)),
  ],
];

t.test('an echo gives back exactly what was said', async (t) => {
  const service = await startRaw(t, echo);
  const bench = await openBench(t, { node: { ports: { 7: service } } });
  for (const [name, parts] of cases) {
    const proxy = bench.startProxy([instanceId, '7'], { input: 'open' });
    let length = greeting.length;
    await until('the tunnel is open', () => proxy.stdout().length === length);
    for (const part of parts) {
      // Each part in a write of its own, which the next one does not join.
      proxy.child.stdin.write(part);
      length += part.length;
      await until(`${name}: ${length} bytes are back`, () => proxy.stdout().length >= length, 20_000);
    }
    proxy.child.stdin.end();
    const { status, stdout, stderr } = await proxy.exit;
    t.ok(stdout.equals(Buffer.concat([greeting, ...parts])), name);
    t.strictSame({ status, stderr }, { status: 0, stderr: '' }, `${name}: a clean end`);
  }
  await bench.gone();
});

t.test('what the target says before it closes is all there', async (t) => {
  for (const length of [1, 1_000, 100_000]) {
    const said = pattern(length, 7);
    const service = await startRaw(t, (socket) => socket.end(said));
    const bench = await openBench(t, { node: { ports: { 13: service } } });
    const { status, stdout, stderr } = await bench.proxy([instanceId, '13'], { input: 'open' });
    t.ok(stdout.equals(said), `${length} bytes`);
    t.strictSame({ status, stderr }, { status: 0, stderr: '' });
    await bench.gone();
  }
});

t.test('what was said before the end of stdin is all delivered', async (t) => {
  for (const length of [1, 1_000, 3_000_000]) {
    const said = pattern(length, 9);
    const received: Buffer[] = [];
    const service = await startRaw(t, (socket) => {
      socket.write('ready');
      socket.on('data', (bytes) => received.push(bytes));
      socket.on('end', () => socket.end());
    });
    const bench = await openBench(t, { node: { ports: { 9: service } } });
    const proxy = bench.startProxy([instanceId, '9'], { input: 'open' });
    await until('the tunnel is open', () => proxy.stdout().length > 0);
    proxy.child.stdin.end(said);
    t.match(await proxy.exit, { status: 0, text: 'ready', stderr: '' });
    const [socket] = service.sockets;
    if (!socket!.closed) await once(socket!, 'close');
    t.ok(Buffer.concat(received).equals(said), `${length} bytes`);
    await bench.gone();
  }
});

t.test('a session that AWS ends leaves no word between the peer’s bytes', async (t) => {
  const service = await startRaw(t, (socket) => socket.write('hello'));
  const bench = await openBench(t, { node: { ports: { 7: service } } });
  const proxy = bench.startProxy([instanceId, '7'], { input: 'open' });
  await until('the tunnel is open', () => proxy.stdout().length > 0);
  bench.region.sessions[0]!.end('terminated', 'Your session was terminated by an administrator.');
  t.match(await proxy.exit, { text: 'hello', stderr: '' });
  await bench.gone();
});
