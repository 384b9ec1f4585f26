import { once } from 'node:events';
import { existsSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { LocalListener } from '../../src/daemon/local-listener.ts';
import { isPeerGone } from '../../src/daemon/local-peer.ts';
import { shortFolder } from '../unix-sockets.ts';

t.test('a port that is picked is told, and closed with the listener', async (t) => {
  const sockets: Socket[] = [];
  const listener = await LocalListener.listen({ address: '127.0.0.1', port: 0 }, (socket) => sockets.push(socket));
  const { local } = listener;
  if ('path' in local) throw new Error('a path');
  const client = connect(local.port, '127.0.0.1');
  await once(client, 'connect');
  t.ok(local.port > 0);
  client.destroy();
  listener.close();
  const late = connect(local.port, '127.0.0.1');
  const [error] = await once(late, 'error');
  t.equal(error.code, 'ECONNREFUSED');
  for (const socket of sockets) socket.destroy();
});

t.test('a unix socket is for its user alone, and gone with the listener', async (t) => {
  const path = join(shortFolder(t), 's');
  const listener = await LocalListener.listen({ path }, (socket) => socket.destroy());
  t.equal(statSync(path).mode & 0o777, 0o600);
  await t.rejects(
    LocalListener.listen({ path }, () => {}),
    { code: 'port-in-use' },
  );
  listener.close();
  t.notOk(existsSync(path));
});

t.test('a socket that a killed daemon left is replaced; any other file is not', async (t) => {
  const folder = shortFolder(t);
  const left = join(folder, 'left');
  const dead = createServer().listen(left);
  await once(dead, 'listening');
  // As SIGKILL leaves it: the file is there, and nobody listens.
  (dead as unknown as { _handle: { close(): void } })._handle.close();
  if (!existsSync(left)) writeFileSync(join(folder, 'gone'), '');
  const listener = await LocalListener.listen({ path: left }, () => {});
  listener.close();
  const file = join(folder, 'file');
  writeFileSync(file, 'precious');
  await t.rejects(
    LocalListener.listen({ path: file }, () => {}),
    { code: 'port-in-use' },
  );
  t.equal(statSync(file).size, 8);
});

t.test('what is in use, or can not be, is an error that says so', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  await t.rejects(
    LocalListener.listen({ address: '127.0.0.1', port }, () => {}),
    {
      code: 'port-in-use',
      message: `127.0.0.1:${port} is in use already`,
    },
  );
  await t.rejects(
    LocalListener.listen({ address: '192.0.2.1', port: 0 }, () => {}),
    { code: 'local-listen' },
  );
  const path = join(shortFolder(t), 'x'.repeat(120));
  await t.rejects(
    LocalListener.listen({ path }, () => {}),
    { code: 'socket-path' },
  );
  const folder = shortFolder(t);
  symlinkSync('loop', join(folder, 'loop'));
  for (const path of [join(folder, 'loop/s'), join(folder, 'missing/s')]) {
    await t.rejects(
      LocalListener.listen({ path }, () => {}),
      { code: 'local-listen', hint: /folder must be there/ },
      path,
    );
  }
});

/** Both ends of a connection, over IPv4 or IPv6. */
async function tcpPair(host: string, listening = host): Promise<{ client: Socket; server: Socket; end(): void }> {
  const listener = createServer({ allowHalfOpen: true }).listen(0, listening);
  await once(listener, 'listening');
  const client = connect({ port: (listener.address() as AddressInfo).port, host, allowHalfOpen: true });
  const [server] = (await once(listener, 'connection')) as [Socket];
  client.on('error', () => {});
  server.on('error', () => {});
  const end = () => {
    client.destroy();
    server.destroy();
    listener.close();
  };
  return { client, server, end };
}

for (const [host, listening] of [
  ['127.0.0.1', '127.0.0.1'],
  ['::1', '::1'],
  ['127.0.0.1', '::'],
  ['::ffff:127.0.0.1', '127.0.0.1'],
] as const) {
  const skip = process.platform !== 'linux' && 'the table is in /proc';
  t.test(
    `from ${host} to ${listening}, a client that is gone is told from one that has shut down its writing side`,
    { skip },
    async (t) => {
      const { client, server, end } = await tcpPair(host, listening);
      t.teardown(end);
      t.equal(isPeerGone(server), false);
      server.resume();
      client.end();
      await once(server, 'end');
      t.equal(isPeerGone(server), false, 'it still reads');
      client.destroy();
      while (isPeerGone(server) === false) await new Promise((resolve) => setTimeout(resolve, 2));
      t.equal(isPeerGone(server), true);
    },
  );
}
