// Starts a ProxyCommand as ssh does (sshconnect.c, ssh_proxy_connect and ssh_proxy_fdpass_connect) and goes as far as the
// server's identification string. ssh's own work is left out, so that only the way to the server is measured.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import type { Duplex, Readable } from 'node:stream';
import { descendants, endProcesses } from './processes.ts';
import { instanceId, type Network, type Stand } from './stand.ts';
import type { Subject } from './subject.ts';

const timeoutMs = 30_000;
const endsWithinMs = 3_000;
const identification = 'SSH-2.0-bench\r\n';

export interface Opened {
  /** From the start of the ProxyCommand, or of the connect, until the banner is here. */
  bannerMs: number;
  /** As at the end of ssh; resolves when the ProxyCommand is gone. */
  close(): Promise<void>;
}

/** @throws when there is no banner in time */
export async function openToBanner(subject: Subject, stand: Stand, network: Network): Promise<Opened> {
  const startedAt = performance.now();
  const way =
    subject.proxyCommand === undefined
      ? direct(network)
      : subject.passesDescriptor
        ? passing(commandOf(subject, stand), subject.env())
        : relaying(commandOf(subject, stand), subject.env());
  try {
    const source = await inTime(way.connected);
    await inTime(startsWithBanner(source));
    return { bannerMs: performance.now() - startedAt, close: () => way.close() };
  } catch (error) {
    await way.close();
    throw new Error(`${subject.name}: ${(error as Error).message}${way.complaint()}`);
  }
}

interface Way {
  /** Resolves when our identification string has been written. */
  connected: Promise<Readable>;
  close(): Promise<void>;
  /** What the ProxyCommand had to say. */
  complaint(): string;
}

function direct({ sshd }: Network): Way {
  const socket = createConnection({ ...sshd, noDelay: true });
  return {
    connected: once(socket, 'connect').then(() => greet(socket)),
    async close() {
      socket.destroy();
    },
    complaint: () => '',
  };
}

/** Without ProxyUseFdpass: bytes go through the command's stdin and stdout. */
function relaying(command: string, env: Record<string, string>): Way {
  const child = spawn('/bin/sh', ['-c', `exec ${command}`], { env, stdio: 'pipe' });
  child.stdin.on('error', () => {});
  const complaint = listen(child);
  child.stdin.write(identification);
  return {
    connected: Promise.race([Promise.resolve(child.stdout), failed(child)]),
    async close() {
      child.stdin.destroy();
      child.stdout.destroy();
      await hangUp(child);
    },
    complaint,
  };
}

/**
 * With it: one socket is stdin and stdout; the command passes a descriptor over it and ends. Node can receive one only on
 * the channel that it makes itself, whose other end the shell makes stdout too.
 */
function passing(command: string, env: Record<string, string>): Way {
  const child = spawn('/bin/sh', ['-c', `exec ${command} >&0`], { env, stdio: ['ipc', 'ignore', 'pipe'] });
  const complaint = listen(child);
  let socket: Socket | undefined;
  const exited = once(child, 'exit');
  const connected = once(child, 'message').then(async ([, passed]) => {
    socket = passed as Socket;
    await exited; // ssh waits for it too
    return greet(socket);
  });
  return {
    connected: Promise.race([connected, failed(child)]),
    async close() {
      socket?.destroy();
      await hangUp(child);
    },
    complaint,
  };
}

function commandOf({ proxyCommand }: Subject, { sshd }: Stand): string {
  const tokens: Record<string, string> = { '%h': instanceId, '%p': '22', '%r': sshd.user, '%%': '%' };
  return proxyCommand!.replace(/%[hpr%]/g, (token) => tokens[token]!);
}

function greet(socket: Duplex): Duplex {
  socket.on('error', () => {});
  socket.write(identification);
  return socket;
}

function listen(child: ChildProcess): () => string {
  let text = '';
  child.stderr!.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  return () => (text === '' ? '' : `; ${text.trim()}`);
}

/** Rejects when the command says by its status that it failed. */
async function failed(child: ChildProcess): Promise<never> {
  const [status] = await once(child, 'close');
  if (status !== 0) throw new Error(`the ProxyCommand ended with status ${status}`);
  return await new Promise(() => {});
}

async function startsWithBanner(source: Readable): Promise<void> {
  let text = '';
  await new Promise<void>((resolve, reject) => {
    source.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if (text.includes('SSH-2.0-')) resolve();
    });
    source.once('close', () => reject(new Error('closed without a banner')));
  });
}

/** ssh_kill_proxy_command: HUP, after both ends are closed. What the command started and left behind is ended by us. */
async function hangUp(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const all = [child.pid!, ...descendants(child.pid!)];
  child.kill('SIGHUP');
  await Promise.race([once(child, 'exit'), new Promise((resolve) => setTimeout(resolve, endsWithinMs).unref())]);
  await endProcesses(all, endsWithinMs);
}

function inTime<T>(promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`nothing after ${timeoutMs} ms`)), timeoutMs);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
