// For the tests of local tunnels: `keyhole forward` as a process that tells by --json what it does, and servers behind the
// instance whose manners are known.
import { createHash } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { type DaemonBench, kill } from './daemon-bench.ts';
import { keyhole, type Running, type RunOptions, until } from './fixture.ts';

export interface Tunnel extends Running {
  /** Local ports, in the order of the forwardings; NaN for a unix socket. */
  ports: number[];
  /** What --json has printed so far. */
  events(): { type: string; [member: string]: unknown }[];
  /** Ctrl-C; resolves when it has ended. */
  interrupt(): Promise<void>;
}

/** Resolves when it listens. */
export async function startForward(bench: DaemonBench, args: string[], options: RunOptions = {}): Promise<Tunnel> {
  const ends = args.filter((arg) => !arg.startsWith('-')).length - 1;
  const running = bench.start(keyhole, ['forward', '--json', ...args], {
    input: 'open',
    timeoutMs: 100_000,
    ...options,
  });
  const events = () =>
    String(running.stdout())
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line));
  const listening = () => events().filter(({ type }) => type === 'listening');
  let over = false;
  const ended = () => {
    over = true;
  };
  running.exit.then(ended, ended);
  await until('the tunnel listens', () => over || listening().length === ends, 20_000, running.stderr);
  if (over) throw new Error(running.stderr());
  return {
    ...running,
    events,
    ports: listening().map(({ local }) => Number(/^127\.0\.0\.1:(\d+)$/.exec(local)?.[1])),
    async interrupt() {
      kill(running.pid, 'SIGINT');
      await running.exit;
    },
  };
}

/** How a conversation with a server ended, and what was heard. */
export interface Heard {
  bytes: Buffer;
  /** Of an error; undefined where the server closed. */
  code: string | undefined;
}

/** Says something, and hears all until the end. @param half shuts down the writing side at once */
export function ask(where: number | string, words: Uint8Array | string, half = false): Promise<Heard> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let code: string | undefined;
    const socket = open(where);
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', (error: NodeJS.ErrnoException) => {
      code = error.code;
    });
    socket.on('end', () => socket.end());
    socket.on('close', () => resolve({ bytes: Buffer.concat(chunks), code }));
    if (half) socket.end(words);
    else socket.write(words);
  });
}

export function open(where: number | string): Socket {
  return typeof where === 'number'
    ? connect({ port: where, host: '127.0.0.1', allowHalfOpen: true })
    : connect({ path: where, allowHalfOpen: true });
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
