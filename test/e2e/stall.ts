// A TCP relay in front of a region that can stand still: it passes what the client sends and holds back what the region
// answers, or does not even pass on, until it is let go. For the stages of a connection in which nothing comes.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { Test } from 'tap';

export interface Stall {
  /** `127.0.0.1:PORT` */
  readonly authority: string;
  /** Connections that clients have opened so far. */
  readonly connections: number;
  /** `answers`: requests reach the region, answers wait. `all`: the region is not even asked. */
  hold(what: 'answers' | 'all'): void;
  /** What was held goes on. */
  release(): void;
}

export async function startStall(t: Test, upstream: string): Promise<Stall> {
  const { hostname, port } = new URL(upstream);
  const pairs = new Set<{ client: Socket; server: Socket }>();
  let held: 'answers' | 'all' | undefined;
  let connections = 0;
  const listener = createServer((client) => {
    connections += 1;
    const pair = { client, server: connect({ host: hostname, port: Number(port) }) };
    pairs.add(pair);
    const forward = (from: Socket, to: Socket) => {
      from.on('data', (chunk) => to.write(chunk));
      from.on('end', () => to.end());
      from.on('error', () => to.destroy());
      from.on('close', () => pairs.delete(pair));
    };
    forward(client, pair.server);
    forward(pair.server, client);
    apply();
  });
  const apply = () => {
    for (const { client, server } of pairs) {
      if (held === 'all') client.pause();
      else client.resume();
      if (held === undefined) server.resume();
      else server.pause();
    }
  };
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.teardown(() => {
    for (const { client, server } of pairs) for (const socket of [client, server]) socket.destroy();
    listener.close();
  });
  return {
    authority: `127.0.0.1:${(listener.address() as AddressInfo).port}`,
    get connections() {
      return connections;
    },
    hold(what) {
      held = what;
      apply();
    },
    release() {
      held = undefined;
      apply();
    },
  };
}
