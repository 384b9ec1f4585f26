// Bytes through ssh's own forwards: a local port that leads to a service behind the instance, or back.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { type Bench, type Result, until } from './fixture.ts';

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Says `bytes` to a local port and reads as many back; `hello` goes first and its answer is dropped. */
export async function roundTrip(port: number, bytes: Buffer, hello: [Buffer, number][] = []): Promise<Buffer> {
  const socket = connect(port, '127.0.0.1');
  const received: Buffer[] = [];
  let length = 0;
  let failure: Error | undefined;
  socket.on('data', (chunk) => {
    received.push(chunk);
    length += chunk.length;
  });
  socket.on('error', (error) => {
    failure = error;
  });
  let skip = 0;
  for (const [question, answerLength] of hello) {
    socket.write(question);
    skip += answerLength;
    const wanted = skip;
    await until('the proxy answers', () => length >= wanted || failure !== undefined);
  }
  socket.write(bytes);
  await until('the bytes are back', () => length >= skip + bytes.length || failure !== undefined, 20_000);
  socket.destroy();
  if (failure !== undefined) throw failure;
  return Buffer.concat(received).subarray(skip);
}

/** Runs ssh -N with a forward to `host` until `use` is through. */
export async function throughForward<T>(
  bench: Bench,
  args: string[],
  host: string,
  port: number,
  use: () => Promise<T>,
): Promise<Result & { used: T }> {
  const ssh = bench.start('ssh', ['-F', bench.config, '-N', '-o', 'ExitOnForwardFailure=yes', ...args, host], {
    input: 'open',
  });
  await until('the forward listens', () => listens(port), 15_000, ssh.stderr);
  const used = await use();
  ssh.child.kill('SIGTERM');
  return { ...(await ssh.exit), used };
}

/** RFC 1928: no authentication; CONNECT to a port of 127.0.0.1. Each with the length of its answer. */
export function socksHello(port: number): [Buffer, number][] {
  return [
    [Buffer.from([5, 1, 0]), 2],
    [Buffer.from([5, 1, 0, 1, 127, 0, 0, 1, port >> 8, port & 255]), 10],
  ];
}

async function listens(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  const [event] = await Promise.race([
    once(socket, 'connect').then(() => [true]),
    new Promise<[boolean]>((resolve) => socket.once('error', () => resolve([false]))),
  ]);
  socket.destroy();
  return event as boolean;
}
