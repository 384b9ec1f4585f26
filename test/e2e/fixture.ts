// What the end-to-end tests stand on: a simulated region with a real sshd behind one instance and one hybrid node, a
// folder with everything ssh asks for, and processes that end in time. The program under test is dist/keyhole as it was
// built, started by ssh or by hand; nothing of src runs here. Every wait is for a condition and has a bound.
import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { Test } from 'tap';
import type { NodeOptions, RegionOptions } from '../region/options.ts';
import { type Region, startRegion } from '../region/region.ts';
import { type Sshd, startSshd } from '../region/sshd/sshd.ts';

export const keyhole = resolve(import.meta.dirname, '../../dist/keyhole');
export const instanceId = 'i-0123456789abcdef0';
export const nodeId = 'mi-0123456789abcdef0';
/**
 * By how much the bounds in time are stretched: scripts/test gives 3, since a machine that others use may stand still for
 * seconds. The commands that look for what is slow (scripts/kills, scripts/soak) keep to the bounds themselves.
 */
export const patience = Number(process.env.TEST_PATIENCE || 1);
/** In which everything has to be gone after ssh has (issue 2). */
export const goneWithinMs = 3_000 * patience;
/**
 * All but the slowest of OpenSSH's key exchanges, the default before 10.0: it takes ssh and sshd a third of the time of a
 * whole `ssh … true` (80 ms here), hundreds of times in the suite, and nothing of keyhole depends on it. scripts/demo and
 * scripts/bench keep it.
 */
export const kexAlgorithms = '-sntrup761*';
const commandTimeoutMs = 60_000;

export interface BenchOptions {
  region?: Omit<RegionOptions, 'nodes'>;
  /** Of both nodes. Port 22 leads to sshd. */
  node?: Omit<NodeOptions, 'instanceId'>;
  /** Environment besides the region's. */
  env?: Record<string, string>;
}

export interface RunOptions {
  /** Added to the bench's environment; undefined takes a variable away. */
  env?: Record<string, string | undefined>;
  /** What stdin gives before its end; `open` leaves it open. Default: end of file at once. */
  input?: Uint8Array | string | 'open';
  /** After which the process is killed and the run fails. */
  timeoutMs?: number;
  cwd?: string;
}

export interface Result {
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: Buffer;
  text: string;
  stderr: string;
}

/** A process that is being watched. */
export interface Running {
  child: ChildProcessByStdio<Writable, Readable, Readable>;
  pid: number;
  /** What came so far. */
  stdout(): Buffer;
  stderr(): string;
  /** Rejects when it had to be killed because its time was over. */
  exit: Promise<Result>;
}

export class Bench {
  readonly region: Region;
  readonly sshd: Sshd;
  /** Holds all files of this bench, also those "on the instance", which is this machine. */
  readonly folder: string;
  /** Of ssh, scp and sftp: `-F`. */
  readonly config: string;
  readonly env: Record<string, string>;
  readonly #home: string;
  readonly #children = new Set<ChildProcessByStdio<Writable, Readable, Readable>>();

  constructor(region: Region, sshd: Sshd, folder: string, env: Record<string, string>) {
    this.region = region;
    this.sshd = sshd;
    this.folder = folder;
    this.config = join(folder, 'ssh_config');
    this.#home = join(folder, 'home');
    mkdirSync(this.#home);
    this.env = {
      PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
      HOME: this.#home,
      SHELL: '/bin/sh',
      LC_ALL: 'C',
      ...region.env,
      ...env,
    };
  }

  path(...names: string[]): string {
    return join(this.folder, ...names);
  }

  /** Whatever the arguments are, ssh's own configuration is never read. */
  ssh(args: string[], options?: RunOptions): Promise<Result> {
    return this.run('ssh', ['-F', this.config, ...args], options);
  }

  /** `keyhole proxy --no-daemon -- …` without ssh. */
  proxy(operands: string[], options?: RunOptions): Promise<Result> {
    return this.startProxy(operands, options).exit;
  }

  startProxy(operands: string[], options?: RunOptions): Running {
    return this.start(keyhole, ['proxy', '--no-daemon', '--', ...operands], options);
  }

  run(file: string, args: string[], options?: RunOptions): Promise<Result> {
    return this.start(file, args, options).exit;
  }

  start(file: string, args: string[], { env = {}, input = '', timeoutMs, cwd }: RunOptions = {}): Running {
    const child = spawn(file, args, { stdio: 'pipe', env: { ...this.env, ...env }, cwd: cwd ?? this.folder });
    this.#children.add(child);
    child.once('close', () => this.#children.delete(child));
    return watch(child, `${file} ${args.join(' ')}`, input, timeoutMs ?? commandTimeoutMs);
  }

  /** What a failed test has left running. */
  killAll(): void {
    for (const child of this.#children) child.kill('SIGKILL');
  }

  /** Processes of keyhole that belong to this bench; they are known by their HOME. Linux. */
  proxies(): number[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && this.#isProxy(name))
      .map(Number);
  }

  #isProxy(pid: string): boolean {
    try {
      if (!/\/dist\/(?:keyhole|lib\/main\.js)\0/.test(readFileSync(`/proc/${pid}/cmdline`, 'latin1'))) return false;
      return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`HOME=${this.#home}`);
    } catch {
      return false; // gone since
    }
  }

  /**
   * Resolves when no process of keyhole is left and the region has no active session.
   * @throws when there is after `goneWithinMs`
   */
  async gone(withinMs = goneWithinMs): Promise<void> {
    await until(
      'nothing is left of keyhole',
      () => this.#leftOver().length === 0,
      withinMs,
      () => this.#leftOver().join(', '),
    );
  }

  #leftOver(): string[] {
    return [
      ...this.proxies().map((pid) => `process ${pid}`),
      ...this.region.sessions.filter(({ active }) => active).map(({ sessionId }) => `session ${sessionId}`),
    ];
  }
}

export async function openBench(t: Test, options: BenchOptions = {}): Promise<Bench> {
  if (!existsSync(keyhole)) throw new Error('dist/keyhole is missing: run `npm run build`, or use scripts/test');
  // Not t.testdir: paths of sockets must be short.
  const folder = mkdtempSync(join(tmpdir(), 'keyhole-e2e-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const identity = join(folder, 'identity');
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', identity]);
  const authorizedKeys = [readFileSync(`${identity}.pub`, 'utf8').trim()];
  const sshd = await startSshd({ authorizedKeys, kexAlgorithms });
  t.teardown(() => sshd.stop());
  const ports = { 22: { host: sshd.host, port: sshd.port }, ...options.node?.ports };
  const region = await startRegion({
    ...options.region,
    nodes: [instanceId, nodeId].map((id) => ({ ...options.node, instanceId: id, ports })),
  });
  t.teardown(() => region.stop());
  const bench = new Bench(region, sshd, folder, options.env ?? {});
  t.teardown(() => bench.killAll());
  const knownHosts = sshd.hostKeys.map((hostKey) => `${instanceId},${nodeId} ${hostKey}\n`).join('');
  writeFileSync(bench.path('known_hosts'), knownHosts);
  writeFileSync(bench.config, sshConfig(bench));
  return bench;
}

function sshConfig(bench: Bench): string {
  return `Host i-* mi-*
  ProxyCommand "${keyhole}" proxy --no-daemon -- %h %p %r
  User ${bench.sshd.user}
  IdentityFile ${bench.path('identity')}
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile ${bench.path('known_hosts')}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
`;
}

function watch(
  child: ChildProcessByStdio<Writable, Readable, Readable>,
  what: string,
  input: NonNullable<RunOptions['input']>,
  timeoutMs: number,
): Running {
  const stdout: Buffer[] = [];
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  child.stdin.on('error', () => {}); // it may end without having read all
  if (input !== 'open') child.stdin.end(input);
  const exit = new Promise<Result>((fulfil, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`${what}: not done after ${timeoutMs} ms; stderr: ${stderr}`));
    }, timeoutMs);
    child.once('error', reject);
    child.once('close', (status, signal) => {
      clearTimeout(timer);
      const bytes = Buffer.concat(stdout);
      fulfil({ status, signal, stdout: bytes, text: bytes.toString('latin1'), stderr });
    });
  });
  exit.catch(() => {}); // whoever waits for it is told
  return { child, pid: child.pid!, stdout: () => Buffer.concat(stdout), stderr: () => stderr, exit };
}

/** Polls: resolves when `condition` holds, and throws when it does not in time. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  withinMs = 10_000 * patience,
  found: () => string = () => '',
): Promise<void> {
  const end = performance.now() + withinMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within ${withinMs} ms: ${what} ${found()}`);
    await delay(10);
  }
}

/** A proxy that runs without ssh, its input open: its client goes as soon as the target has spoken. */
export async function leaveAfterBanner({ child, stdout, stderr, exit }: Running): Promise<Result> {
  const hasSpoken = () => stdout().includes('SSH-2.0-') || child.exitCode !== null;
  await until('the target speaks', hasSpoken, 20_000, stderr);
  child.stdin.end();
  return await exit;
}

/** Peak and present resident size of a process, MB. Linux. */
export function residentMegabytes(pid: number): { peak: number; now: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const megabytes = (name: string) => (Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1]) * 1024) / 1e6;
  return { peak: megabytes('VmHWM'), now: megabytes('VmRSS') };
}
