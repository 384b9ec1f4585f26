// What the tests of the daemon stand on: a Bench whose user has a home, and so a daemon, of his own, logs in by the pushed
// key alone, and has ssh's configuration as README.md gives it. The home's path is short, since sockets are in it. When the
// test is over the daemon is stopped, and it is checked that nothing is left of it.
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ssh2 from 'ssh2';
import type { Test } from 'tap';
import type { DaemonStatus } from '../../src/daemon/service.ts';
import type { FailureRecord } from '../../src/failure-record.ts';
import type { AccessKeyOptions, NodeOptions, RegionOptions } from '../region/options.ts';
import { type Region, startRegion } from '../region/region.ts';
import { type Sshd, startSshd } from '../region/sshd/sshd.ts';
import { Bench, goneWithinMs, kexAlgorithms, keyhole, type Result, type RunOptions, until } from './fixture.ts';

type InstanceOptions = Omit<NodeOptions, 'instanceId' | 'ports' | 'publishKeys'>;

export interface DaemonBenchOptions {
  /** How many instances there are; default one. */
  instances?: number;
  /** Their ids, in place of that. */
  ids?: string[];
  /** Users of the nodes' file systems besides the one who logs in. */
  users?: string[];
  region?: Omit<RegionOptions, 'nodes'>;
  /** Of every instance, or of the one of that number, besides its sshd. */
  node?: InstanceOptions | ((at: number) => InstanceOptions);
  /** Further ports of every instance. */
  ports?: NodeOptions['ports'];
  env?: Record<string, string>;
  /** Public keys that may log in without having been pushed. */
  authorizedKeys?: string[];
}

/** What an ssh that works leaves of itself. */
export const works = { status: 0, text: 'works\n', stderr: '' };

export class DaemonBench extends Bench {
  readonly home: string;
  /** `~/.ssh/keyhole`. */
  readonly sshDir: string;
  readonly instances: string[];

  constructor(region: Region, sshd: Sshd, folder: string, env: Record<string, string>, instances: string[]) {
    super(region, sshd, folder, { TMPDIR: join(folder, 'tmp'), ...env });
    this.home = this.env.HOME!;
    this.sshDir = join(this.home, '.ssh/keyhole');
    this.instances = instances;
    mkdirSync(this.env.TMPDIR!);
    writeFileSync(this.path('known_hosts'), this.#knownHosts());
    this.configure();
  }

  /** Writes ssh's configuration. `lines` come first, where the first value of an option counts. */
  configure({ lines = [] as string[], program = keyhole, sshDir = this.sshDir } = {}): void {
    writeFileSync(
      this.config,
      `${lines.map((line) => `${line}\n`).join('')}Host i-* mi-*
  ProxyCommand "${program}" proxy -- %h %p %r
  ProxyUseFdpass yes
  IdentityAgent "${sshDir}/agent/%r@%h:%p"
  IdentityFile none
  IdentitiesOnly no
  User ${this.sshd.user}
  UserKnownHostsFile ${this.path('known_hosts')}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
`,
    );
  }

  /** Also those that were started without HOME: all that have to do with this bench's folder. */
  override proxies(): number[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .filter((pid) => commandLine(pid).some((word) => /\/dist\/(keyhole|lib\/main\.js)$/.test(word)))
      .filter((pid) => environment(pid).some((entry) => entry.includes(this.folder)));
  }

  /** Pids of the daemons, the helpers being none. */
  daemons(): number[] {
    return this.proxies().filter((pid) => commandLine(pid).includes('daemon'));
  }

  /** ssh with a command that prints `works`. */
  works(options?: RunOptions, args: string[] = [], host = this.instances[0]!): Promise<Result> {
    return this.ssh([...args, host, 'echo works'], options);
  }

  keyhole(args: string[], options?: RunOptions): Promise<Result> {
    return this.run(keyhole, args, options);
  }

  /** Of the daemon that listens; null where none does. */
  async status(): Promise<DaemonStatus | null> {
    return JSON.parse((await this.keyhole(['status', '--json'])).text);
  }

  async failures(): Promise<FailureRecord[]> {
    return JSON.parse((await this.keyhole(['why', '--json'])).text);
  }

  log(): string {
    try {
      return readFileSync(join(this.home, '.local/state/keyhole/daemon.log'), 'utf8');
    } catch {
      return '';
    }
  }

  /** Names of the sockets in the runtime folder. */
  sockets(): string[] {
    const names = (path: string) => {
      try {
        return readdirSync(path, { withFileTypes: true });
      } catch {
        return [];
      }
    };
    return [...names(this.sshDir), ...names(join(this.sshDir, 'agent'))]
      .filter((entry) => entry.isSocket())
      .map(({ name }) => name)
      .sort();
  }

  activeSessions(): string[] {
    return this.region.sessions.filter(({ active }) => active).map(({ sessionId }) => sessionId);
  }

  /** Resolves when the daemon is alone: no helper, no session. @throws after `goneWithinMs` */
  async idle(withinMs = goneWithinMs): Promise<void> {
    const others = () => this.proxies().length - this.daemons().length;
    await until(
      'only the daemon is left',
      () => others() === 0 && this.activeSessions().length === 0,
      withinMs,
      () => `(${others()} other processes, sessions ${this.activeSessions().join(', ')})`,
    );
  }

  /** Stops every daemon. @throws where anything is left */
  async stop(): Promise<void> {
    for (const pid of this.daemons()) kill(pid, 'SIGTERM');
    await this.gone();
    const left = this.sockets();
    if (left.length > 0) throw new Error(`sockets are left: ${left.join(', ')}`);
  }

  #knownHosts(): string {
    const names = this.instances.join(',');
    return this.sshd.hostKeys.map((hostKey) => `${names} ${hostKey}\n`).join('');
  }
}

export async function openDaemonBench(t: Test, options: DaemonBenchOptions = {}): Promise<DaemonBench> {
  const folder = mkdtempSync(join(tmpdir(), 'kh-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const instances =
    options.ids ??
    Array.from({ length: options.instances ?? 1 }, (_, at) => `i-0123456789abcde${(0xf0 - at).toString(16)}`);
  const { authorizedKeys = [], users = [] } = options;
  const sshd = await startSshd({ authorizedKeys, users, instances, kexAlgorithms });
  t.teardown(() => sshd.stop());
  const nodes = instances.map((id, at) => {
    const node = sshd.node(id);
    const own = typeof options.node === 'function' ? options.node(at) : options.node;
    return { ...own, ...node, ports: { ...node.ports, ...options.ports } };
  });
  const region = await startRegion({ ...options.region, nodes });
  t.teardown(() => region.stop());
  const bench = new DaemonBench(region, sshd, folder, options.env ?? {}, instances);
  t.teardown(async () => {
    bench.killAll();
    if (!t.passing()) t.comment(bench.log());
    try {
      await bench.stop();
    } finally {
      for (const pid of bench.proxies()) kill(pid, 'SIGKILL');
    }
  });
  return bench;
}

/** A key pair of the user's own, with the comment `own`, in files that only he can read. */
export function makeKey(t: Test): { file: string; publicLine: string } {
  const folder = mkdtempSync(join(tmpdir(), 'kh-key-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const { private: text, public: publicLine } = ssh2.utils.generateKeyPairSync('ed25519', { comment: 'own' });
  const file = join(folder, 'own');
  writeFileSync(file, text, { mode: 0o600 });
  writeFileSync(`${file}.pub`, `${publicLine}\n`);
  return { file, publicLine };
}

/** False: it was gone already. */
export function kill(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/** Arguments of a process; empty for one that is gone. Linux. */
export function commandLine(pid: number): string[] {
  return procStrings(pid, 'cmdline');
}

/** `NAME=value` entries with which a process was started; empty for one that is gone. Linux. */
export function environment(pid: number): string[] {
  return procStrings(pid, 'environ');
}

function procStrings(pid: number, name: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8').split('\0').slice(0, -1);
  } catch {
    return [];
  }
}

export interface Profiles {
  /** By profile. */
  accessKeyIds: Record<string, string>;
  /** Which no process may show. */
  secrets: string[];
}

/**
 * Gives the user profiles in `~/.aws` in place of keys in the environment. Each has a key of its own, of the IAM user with
 * its name.
 * @param slowly the key comes from a `credential_process` that takes its time
 */
export function useProfiles(
  bench: DaemonBench,
  profiles: Record<string, Partial<AccessKeyOptions>>,
  { slowly = false } = {},
): Profiles {
  const result: Profiles = { accessKeyIds: {}, secrets: [] };
  const sections: Record<'config' | 'credentials', string[]> = { config: [], credentials: [] };
  mkdirSync(join(bench.home, '.aws'), { recursive: true });
  for (const [name, options] of Object.entries(profiles)) {
    const accessKeyId = `AKIA${randomBytes(8).toString('hex').toUpperCase()}`;
    const secretAccessKey = `secret/${randomBytes(17).toString('hex')}`;
    const key = { accessKeyId, secretAccessKey, arn: `arn:aws:iam::111122223333:user/${name}`, ...options };
    bench.region.identities.add(key);
    result.accessKeyIds[name] = key.accessKeyId;
    result.secrets.push(key.secretAccessKey);
    const answer = { Version: 1, AccessKeyId: key.accessKeyId, SecretAccessKey: key.secretAccessKey };
    const file = join(bench.home, '.aws', `${name}.json`);
    if (slowly) writeFileSync(file, JSON.stringify(answer));
    sections.config.push(
      `[${name === 'default' ? name : `profile ${name}`}]`,
      `region = ${bench.region.region}`,
      ...(slowly ? [`credential_process = sh -c "sleep 0.3; cat '${file}'"`] : []),
    );
    if (slowly) continue;
    sections.credentials.push(
      `[${name}]`,
      `aws_access_key_id = ${key.accessKeyId}`,
      `aws_secret_access_key = ${key.secretAccessKey}`,
    );
  }
  for (const [name, lines] of Object.entries(sections)) {
    writeFileSync(join(bench.home, '.aws', name), `${lines.join('\n')}\n`, { mode: 0o600 });
  }
  for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN']) delete bench.env[name];
  return result;
}
