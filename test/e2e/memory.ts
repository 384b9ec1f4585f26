// Readers that stop: ssh, sshd, and byte services without any window of their own, each in the middle of a transfer
// for a given time, after which all bytes must still come. Each answers the proxy's peak memory.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Test } from 'tap';
import { type Bench, instanceId, openBench, type Running, residentMegabytes, until } from './fixture.ts';
import { pattern, startRaw } from './raw.ts';
import { makeFile, sha256 } from './transfer.ts';

/** Of a proxy's resident size, at any time (issue 2). */
export const memoryLimitMegabytes = 100;
const block = pattern(1 << 20);
const timeoutMs = 240_000;

function digest(bytes: Iterable<Buffer>): string {
  const hash = createHash('sha256');
  for (const part of bytes) hash.update(part);
  return hash.digest('hex');
}

/** A block that differs from others by its first byte. */
function numbered(number: number): Buffer {
  return Buffer.concat([Buffer.of(number), block.subarray(1)]);
}

function* blocks(count: number): Generator<Buffer> {
  for (let number = 0; number < count; number += 1) yield numbered(number);
}

/** The peak so far, and a check that the process is still there to be asked. */
function peak(bench: Bench): number {
  const [pid, ...others] = bench.proxies();
  if (pid === undefined || others.length > 0)
    throw new Error(`${bench.proxies().length} processes of keyhole, not one`);
  return residentMegabytes(pid).peak;
}

export interface Outcome {
  peakMegabytes: number;
  intact: boolean;
}

/** ssh is stopped in the middle of a download. */
export async function stoppedSsh(t: Test, stopMs: number): Promise<Outcome> {
  const bench = await openBench(t);
  const file = makeFile(bench, 'file', 5_000_000);
  const ssh = bench.start('ssh', ['-F', bench.config, instanceId, `cat ${file}`], { timeoutMs });
  await until('the download runs', () => ssh.stdout().length > 1_000_000);
  ssh.child.kill('SIGSTOP');
  await delay(stopMs);
  const peakMegabytes = peak(bench);
  ssh.child.kill('SIGCONT');
  const { status, stdout } = await ssh.exit;
  await bench.gone();
  return { peakMegabytes, intact: status === 0 && digest([stdout]) === (await sha256(file)) };
}

/** The process of sshd that serves the connection is stopped in the middle of an upload. */
export async function stoppedSshd(t: Test, stopMs: number): Promise<Outcome> {
  const bench = await openBench(t);
  const file = makeFile(bench, 'file', 40_000_000);
  const command = `echo $PPID; exec cat >${bench.path('up')}`;
  const ssh = bench.start('ssh', ['-F', bench.config, instanceId, command], { input: 'open', timeoutMs });
  await until('sshd is known', () => ssh.stdout().includes('\n'));
  const sshd = Number(ssh.stdout());
  const source = createReadStream(file);
  source.pipe(ssh.child.stdin);
  await until('the upload runs', () => source.bytesRead > 5_000_000);
  process.kill(sshd, 'SIGSTOP');
  await delay(stopMs);
  const peakMegabytes = peak(bench);
  const stoppedInTheMiddle = ssh.child.exitCode === null && source.bytesRead < 40_000_000;
  process.kill(sshd, 'SIGCONT');
  const { status } = await ssh.exit;
  await bench.gone();
  const same = (await sha256(bench.path('up'))) === (await sha256(file));
  return { peakMegabytes, intact: status === 0 && same && stoppedInTheMiddle };
}

/**
 * The reader of stdout stops, and the source has no window: keyhole holds some MiB, then leaves the gateway and comes back
 * with its reader. The stop is as long as that takes, and then `stopMs`; what the source says then is two blocks more.
 */
export async function stoppedReader(t: Test, stopMs: number): Promise<Outcome> {
  let left = false;
  let count = 0;
  const source = await startRaw(t, async (socket) => {
    for (let last = Infinity; count < last; count += 1) {
      if (!socket.write(numbered(count))) await once(socket, 'drain');
      if (left && last === Infinity) last = count + 3;
    }
    socket.end();
  });
  const bench = await openBench(t, { node: { ports: { 19: source }, agent: { readIntervalMs: 1 } } });
  const proxy = bench.startProxy([instanceId, '19'], { input: 'open', timeoutMs });
  await until('the download runs', () => proxy.stdout().length > 1_000_000);
  proxy.child.stdout.pause();
  const [session] = bench.region.sessions;
  await until('keyhole has left the gateway', () => session?.connected === false, 60_000);
  left = true;
  await delay(stopMs);
  const peakMegabytes = peak(bench);
  proxy.child.stdout.resume();
  const { status, stdout } = await proxy.exit;
  await bench.gone();
  return { peakMegabytes, intact: status === 0 && digest([stdout]) === digest(blocks(count)) };
}

/** A service without a window stops reading an upload. */
export async function stoppedSink(t: Test, stopMs: number): Promise<Outcome> {
  const count = 48;
  const hash = createHash('sha256');
  let received = 0;
  const sink = await startRaw(t, (socket) => {
    socket.write('ready');
    socket.on('data', (bytes) => {
      hash.update(bytes);
      received += bytes.length;
    });
  });
  const bench = await openBench(t, { node: { ports: { 9: sink } } });
  const proxy = bench.startProxy([instanceId, '9'], { input: 'open', timeoutMs });
  await until('the tunnel is open', () => proxy.stdout().length > 0);
  const [socket] = sink.sockets;
  const sent = upload(proxy, count);
  await until('the upload runs', () => received > 1_000_000);
  socket!.pause();
  await delay(stopMs);
  const peakMegabytes = peak(bench);
  const stoppedInTheMiddle = received < count * block.length;
  socket!.resume();
  await sent;
  await until('all has arrived', () => received >= count * block.length, 60_000);
  proxy.child.stdin.end();
  const { status } = await proxy.exit;
  await bench.gone();
  return { peakMegabytes, intact: status === 0 && stoppedInTheMiddle && hash.digest('hex') === digest(blocks(count)) };
}

async function upload({ child }: Running, count: number): Promise<void> {
  for (const part of blocks(count)) if (!child.stdin.write(part)) await once(child.stdin, 'drain');
}
