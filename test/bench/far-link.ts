// A TCP leg over a long way: passes bytes on after half a round trip, in order, as many as come. It also takes the
// round trip that setting up a connection costs, and counts round trips where they are decided: at the server's end.

import { once } from 'node:events';
import { createConnection, createServer, type Server, type Socket } from 'node:net';

/** From the client's last byte before an answer until that answer is at the client; ms of performance.now(). */
export interface Turn {
  startedAt: number;
  endedAt: number;
}

export interface Address {
  host: string;
  port: number;
}

export class FarLink {
  readonly address: Address;
  /** Whom connections lead to; set before the first one. */
  target: Address | undefined;
  /** How long the way there and back takes; holds for what is sent from now on. */
  roundTripMs = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #turns: Turn[] = [];

  private constructor(server: Server) {
    this.#server = server;
    this.address = { host: '127.0.0.1', port: (server.address() as { port: number }).port };
    server.on('connection', (socket) => this.#accept(socket));
  }

  static async listen(): Promise<FarLink> {
    // Without allowHalfOpen a connection would be closed before what is still on its way has arrived.
    const server = createServer({ allowHalfOpen: true, noDelay: true }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new FarLink(server);
  }

  /** The turns since the last call. */
  takeTurns(): Turn[] {
    return this.#turns.splice(0);
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(client: Socket): void {
    const acceptedAt = performance.now();
    const oneWay = () => this.roundTripMs / 2;
    // The kernel has accepted at once; over the long way the client would know only now, and could send.
    const establishedAt = acceptedAt + this.roundTripMs;
    this.#turns.push({ startedAt: acceptedAt, endedAt: establishedAt });
    this.#hold(client);
    let lastRequestAt: number | undefined;
    setTimeout(() => {
      const server = createConnection({ ...this.target!, allowHalfOpen: true, noDelay: true });
      this.#hold(server);
      pass(
        client,
        server,
        (readAt) => Math.max(readAt, establishedAt) + oneWay(),
        (readAt) => {
          // What comes before the connection is there, over the long way, could not have been sent yet.
          lastRequestAt = Math.max(readAt, establishedAt);
        },
      );
      const answered = (readAt: number) => {
        if (lastRequestAt === undefined) return;
        this.#turns.push({ startedAt: lastRequestAt, endedAt: readAt + oneWay() });
        lastRequestAt = undefined;
      };
      server.on('data', () => answered(performance.now()));
      pass(
        server,
        client,
        (readAt) => readAt + oneWay(),
        () => {},
      );
    }, oneWay());
  }

  #hold(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => this.#sockets.delete(socket));
  }
}

/** `arrival` says when what was read at a time is at the other end; `onArrival` gets the time at which it was read. */
function pass(
  from: Socket,
  to: Socket,
  arrival: (readAt: number) => number,
  onArrival: (readAt: number) => void,
): void {
  let latest = 0;
  const later = (act: () => void) => {
    const now = performance.now();
    // Timers of the same time fire in order, those of different times must not overtake.
    latest = Math.max(latest, arrival(now));
    setTimeout(() => {
      onArrival(now);
      act();
    }, latest - now);
  };
  from.on('data', (chunk) => later(() => void (to.destroyed || to.write(chunk))));
  from.on('end', () => later(() => void to.end()));
  from.on('close', (failed) => failed && to.destroy());
}

/** How many turns were needed one after the other: the longest chain in which each began after the one before had ended. */
export function longestChain(turns: readonly Turn[]): number {
  let count = 0;
  let endedAt = -Infinity;
  for (const turn of [...turns].sort((a, b) => a.endedAt - b.endedAt)) {
    if (turn.startedAt < endedAt - timerErrorMs) continue;
    count += 1;
    endedAt = turn.endedAt;
  }
  return count;
}

const timerErrorMs = 5;
