// Two ends of a unix socket, as helper and daemon have them, and a folder whose paths are short enough for sockets.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';

/** Ours alone (0700); t.testdir is too deep for sockets. */
export function shortFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'kh-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface SocketPair {
  /** The end that connected. */
  client: Socket;
  server: Socket;
}

/** Makes as many pairs as are asked for. */
export async function socketPairs(t: Test): Promise<() => Promise<SocketPair>> {
  const path = join(shortFolder(t), 's');
  const server = createServer({ allowHalfOpen: true }).listen(path);
  await once(server, 'listening');
  const sockets = new Set<Socket>();
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return async () => {
    const client = connect({ path, allowHalfOpen: true });
    const [[accepted]] = await Promise.all([once(server, 'connection'), once(client, 'connect')]);
    for (const socket of [client, accepted]) {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
    }
    return { client, server: accepted };
  };
}
