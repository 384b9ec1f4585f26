// Byte services behind a port of the instance, in place of sshd: what they are sent and what they send is known to the
// last byte, and they can stop reading.
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import type { Test } from 'tap';

export interface RawService {
  host: '127.0.0.1';
  port: number;
  /** Connections so far, oldest first. */
  sockets: Socket[];
}

export async function startRaw(t: Test, serve: (socket: Socket) => void): Promise<RawService> {
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on('error', () => socket.destroy());
    serve(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port, sockets };
}

/** Deterministic bytes of every value, other ones for each seed: `length` of them. */
export function pattern(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed >>> 0 || 1;
  for (let at = 0; at < length; at += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[at] = state;
  }
  return bytes;
}
