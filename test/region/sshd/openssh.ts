// OpenSSH's own server with a configuration, host keys and files in a temporary folder. Works as root and as an
// ordinary user (who can then log in as himself only). See sshd.ts for what it promises.
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Sshd } from './sshd.ts';

export const opensshPath = '/usr/sbin/sshd';
const portAttempts = 5;

export async function startOpenssh(options: { authorizedKeys: string[]; user: string }): Promise<Sshd> {
  const folder = mkdtempSync(join(tmpdir(), 'keyhole-sshd-'));
  try {
    if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 }); // Privilege separation.
    const hostKeys = ['ed25519', 'ecdsa'].map((type) => generateHostKey(folder, type));
    writeFileSync(join(folder, 'authorized_keys'), `${options.authorizedKeys.join('\n')}\n`, { mode: 0o644 });
    const { child, port } = await listen(folder, options.user);
    return {
      kind: 'openssh',
      host: '127.0.0.1',
      port,
      user: options.user,
      hostKeys,
      async stop() {
        await end(child);
        rmSync(folder, { recursive: true, force: true });
      },
    };
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

function generateHostKey(folder: string, type: string): string {
  const file = join(folder, `host_${type}`);
  execFileSync('ssh-keygen', ['-q', '-t', type, '-N', '', '-C', '', '-f', file]);
  return readFileSync(`${file}.pub`, 'utf8').trim().split(' ').slice(0, 2).join(' ');
}

/** sshd cannot choose a free port itself, so one is tried after the other. */
async function listen(folder: string, user: string): Promise<{ child: ChildProcess; port: number }> {
  for (let attempt = 1; ; attempt++) {
    const port = await freePort();
    writeFileSync(join(folder, 'sshd_config'), configuration(folder, port, user));
    const child = spawn(opensshPath, ['-D', '-e', '-f', join(folder, 'sshd_config')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const lines: string[] = [];
    const listening = await new Promise<boolean>((resolve) => {
      child.once('error', (error) => lines.push(error.message));
      createInterface(child.stderr!)
        .on('line', (line) => {
          if (lines.length < 100) lines.push(line);
          if (line.startsWith('Server listening on ')) resolve(true);
        })
        .once('close', () => resolve(false));
    });
    if (listening) return { child, port };
    const inUse = lines.some((line) => line.includes('Address already in use'));
    if (!inUse || attempt === portAttempts) throw new Error(`sshd does not start: ${lines.join('; ')}`);
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function configuration(folder: string, port: number, user: string): string {
  const lines = [
    'ListenAddress 127.0.0.1',
    `Port ${port}`,
    `HostKey ${folder}/host_ed25519`,
    `HostKey ${folder}/host_ecdsa`,
    `AuthorizedKeysFile ${folder}/authorized_keys`,
    'PidFile none',
    'StrictModes no', // The folder is under /tmp.
    `AllowUsers ${user}`,
    'PermitRootLogin prohibit-password',
    'PubkeyAuthentication yes',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'UseDNS no',
    'PrintMotd no',
    'PrintLastLog no',
    'PermitUserRC no',
    'Subsystem sftp internal-sftp',
    'MaxStartups 1000',
    'MaxSessions 100',
    'LogLevel INFO',
  ];
  // All connections come from one address; since 9.8 sshd would shut it out after a few failures.
  if (version() >= 9.08) lines.push('PerSourcePenalties no');
  return `${lines.join('\n')}\n`;
}

/** As a number that compares, 9.8 being 9.08; 0 if sshd does not say. */
function version(): number {
  const { stdout, stderr } = spawnSync(opensshPath, ['-V'], { encoding: 'utf8' });
  const match = /OpenSSH_(\d+)\.(\d+)/.exec(stdout + stderr);
  return match === null ? 0 : Number(match[1]) + Number(match[2]) / 100;
}

/** Connections and their commands are processes in sessions of their own: each must be ended. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  for (const pid of [child.pid!, ...descendants(child.pid!)]) {
    try {
      process.kill(pid, 'SIGTERM');
    } catch {
      // Gone since.
    }
  }
  await exited;
}

/** Linux only; elsewhere a connection ends with its TCP peer. */
function descendants(pid: number): number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
    return children.flatMap((child) => [child, ...descendants(child)]);
  } catch {
    return [];
  }
}
