// Runs the real ssh for a subject: to the end of a command, or as a session whose stdin and stdout the benchmark holds.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { descendants, endProcesses, waitForEnd } from './processes.ts';
import { instanceId } from './stand.ts';
import type { Subject } from './subject.ts';

const defaultTimeoutMs = 60_000;
const lastWordsMs = 500;
/** Issue 2: after ssh has ended. */
const goneWithinMs = 3_000;

/** Milliseconds from the start of ssh to its end. @throws when it fails, or is not done in time */
export async function timeSsh(subject: Subject, command: string, timeoutMs = defaultTimeoutMs): Promise<number> {
  const startedAt = performance.now();
  const session = openSsh(subject, [command]);
  session.child.stdin.end();
  const timer = setTimeout(() => session.stop(), timeoutMs);
  try {
    await session.exited;
    return performance.now() - startedAt;
  } finally {
    clearTimeout(timer);
  }
}

export class SshSession {
  readonly child: ChildProcessByStdio<Writable, Readable, Readable>;
  /** Resolves when ssh ended with status 0. */
  readonly exited: Promise<void>;
  /** Resolves when ssh is gone; what it started may still hold its stderr. */
  readonly #ended: Promise<void>;
  #received = 0;
  #wanted = 0;
  #onReceived: (() => void) | undefined;

  constructor(subject: Subject, args: string[]) {
    const all = ['-F', subject.configFile, ...args];
    this.child = spawn('ssh', all, { env: subject.env(), stdio: 'pipe' });
    let complaint = '';
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaint += text;
    });
    this.child.stdin.on('error', () => {});
    this.child.stdout.on('data', (chunk: Buffer) => {
      this.#received += chunk.length;
      if (this.#received >= this.#wanted) this.#onReceived?.();
    });
    const closed = once(this.child, 'close');
    closed.catch(() => {}); // could not be started: told below
    this.#ended = new Promise((resolve) => this.child.once('exit', () => resolve()).once('error', () => resolve()));
    this.exited = new Promise((resolve, reject) => {
      this.child.once('error', reject);
      this.child.once('exit', async (status, signal) => {
        if (status === 0) return resolve();
        // For its last words; whoever else holds its stderr is not waited for.
        await Promise.race([closed, delay(lastWordsMs)]);
        reject(new Error(`${subject.name}: ssh ended with ${signal ?? status}: ${complaint.trim()}`));
      });
    });
    this.exited.catch(() => {}); // whoever waits for it is told
  }

  get received(): number {
    return this.#received;
  }

  /** Resolves when `bytes` bytes have come since the last call. @throws when ssh ends before */
  async receive(bytes: number, timeoutMs = defaultTimeoutMs): Promise<void> {
    this.#wanted += bytes;
    let timer: NodeJS.Timeout | undefined;
    const come = new Promise<void>((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`${bytes} bytes not within ${timeoutMs} ms`)), timeoutMs);
      this.#onReceived = resolve;
      if (this.#received >= this.#wanted) resolve();
    });
    const ended = this.exited.then(() => Promise.reject(new Error('ssh ended too early')));
    ended.catch(() => {});
    try {
      await Promise.race([come, ended]);
    } finally {
      clearTimeout(timer);
    }
  }

  write(bytes: Uint8Array): void {
    this.child.stdin.write(bytes);
  }

  /** At once, with all that it started. */
  stop(): void {
    void endProcesses([this.child.pid!, ...this.helpers], 0);
  }

  /** Processes that carry the bytes of this connection and of no other. */
  get helpers(): number[] {
    return descendants(this.child.pid!);
  }

  /**
   * Ends stdin, then, if that does not end ssh, ssh and all that it started.
   * @throws when something of it outlives ssh for long: what is left behind is a fault, and must not be in the next round
   */
  async close(patienceMs = 3_000): Promise<void> {
    const all = [this.child.pid!, ...this.helpers];
    this.child.stdin.end();
    const timer = setTimeout(() => this.child.kill(), patienceMs);
    await this.#ended;
    clearTimeout(timer);
    const left = await waitForEnd(all, goneWithinMs);
    await endProcesses(left);
    if (left.length > 0) throw new Error(`${left.length} processes were left ${goneWithinMs} ms after ssh`);
  }
}

/** `args`: what follows the host, a command as a rule; options of ssh go in `options`. */
export function openSsh(subject: Subject, args: string[], options: string[] = []): SshSession {
  return new SshSession(subject, [...options, instanceId, ...args]);
}
