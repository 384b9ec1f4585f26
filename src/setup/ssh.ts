// What the user's own ssh says: its version, and the configuration that applies to a host. Asked by running it.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KeyholeError } from '../errors.ts';

const timeoutMs = 10_000;
/** A host that stands for all: options for it are options for every id. */
export const sampleHost = 'i-0123456789abcdef0';
const systemConfigs = ['/etc/ssh/ssh_config', '/opt/homebrew/etc/ssh/ssh_config', '/usr/local/etc/ssh/ssh_config'];

export interface SshVersion {
  /** As ssh calls itself: `OpenSSH_9.2p1 …`. */
  name: string;
  major: number;
  minor: number;
}

/** Undefined where it is no OpenSSH. @throws KeyholeError `no-ssh` */
export function askVersion(): SshVersion | undefined {
  const { stderr } = run(['-V']);
  const [name, major, minor] = /OpenSSH_(?:for_Windows_)?(\d+)\.(\d+)\S*/.exec(stderr) ?? [];
  return name === undefined ? undefined : { name, major: Number(major), minor: Number(minor) };
}

export function isBefore({ major, minor }: SshVersion, otherMajor: number, otherMinor: number): boolean {
  return major < otherMajor || (major === otherMajor && minor < otherMinor);
}

/** Values by keyword in lower case, as `ssh -G` prints them; the first of each. */
export type Applied = Map<string, string>;

/** What applies to a host. @throws KeyholeError `no-ssh`, `bad-ssh-config` */
export function askApplied(host: string, options: string[] = []): Applied {
  const { status, stdout, stderr } = run([...options, '-G', '--', host]);
  if (status !== 0) {
    throw new KeyholeError('bad-ssh-config', `ssh cannot read its configuration: ${lastLine(stderr)}`, {
      hint: '`ssh -G localhost` shows it; mend that first',
    });
  }
  const values: Applied = new Map();
  for (const line of stdout.split('\n')) {
    const [, keyword, value] = /^(\S+) (.*)$/.exec(line) ?? [];
    if (keyword !== undefined && !values.has(keyword)) values.set(keyword, value!);
  }
  return values;
}

/** What would apply if the user's configuration were another. @throws KeyholeError `no-ssh`, `bad-ssh-config` */
export function askWithConfig(config: Buffer, host: string): Applied {
  const folder = mkdtempSync(join(tmpdir(), 'keyhole-'));
  try {
    const file = join(folder, 'config');
    const system = systemConfigs.filter((path) => existsSync(path)).slice(0, 1);
    // With -F ssh leaves out the system's configuration, which comes after the user's.
    const rest = system.map((path) => `\nMatch all\nInclude ${path}\n`).join('');
    writeFileSync(file, Buffer.concat([config, Buffer.from(rest)]), { mode: 0o600 });
    return askApplied(host, ['-F', file]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function run(args: string[]): { status: number | null; stdout: string; stderr: string } {
  const { error, status, stdout, stderr } = spawnSync('ssh', args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: timeoutMs,
  });
  if (error !== undefined) {
    throw new KeyholeError('no-ssh', `ssh cannot be run: ${(error as NodeJS.ErrnoException).code}`, {
      hint: 'install the OpenSSH client, 8.4 or newer',
      cause: error,
    });
  }
  return { status, stdout, stderr };
}

function lastLine(text: string): string {
  return text.trimEnd().split('\n').at(-1) || 'it does not say why';
}
