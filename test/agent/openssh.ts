// The real ssh, sshd, ssh-add, ssh-keygen and ssh-agent in a temporary folder, for the tests of this folder. sshd needs
// no port: ssh starts it as its ProxyCommand (sshd -i), as OpenSSH's own tests do.
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';

const sshd = '/usr/sbin/sshd';
/** Why tests with the real tools are left out; false where they can run. */
export const withoutOpenssh: string | false = [sshd, '/usr/bin/ssh', '/usr/bin/ssh-agent'].every(existsSync)
  ? false
  : 'OpenSSH is not installed';

export interface Outcome {
  status: number;
  stdout: string;
  stderr: string;
}

export interface SshOptions {
  agent: string;
  hostKey?: string;
  args?: string[];
  command?: string;
  signal?: AbortSignal;
}

export class Place {
  readonly folder = mkdtempSync(join(tmpdir(), 'kh-agent-'));
  readonly #children: ChildProcess[] = [];

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Never rejects; `status` says how it went, -1 for a signal. */
  run(file: string, args: string[], options: { agent?: string; signal?: AbortSignal } = {}): Promise<Outcome> {
    const { PATH } = process.env;
    const env = { PATH, HOME: this.folder, ...(options.agent && { SSH_AUTH_SOCK: options.agent }) };
    const { signal } = options;
    return new Promise((resolve) => {
      const child = execFile(file, args, { env, ...(signal && { signal }) }, (error, stdout, stderr) => {
        resolve({ status: error ? (typeof error.code === 'number' ? error.code : -1) : 0, stdout, stderr });
      });
      child.stdin!.end();
    });
  }

  /** Makes a key pair; gives its public line. */
  keygen(name: string, ...args: string[]): string {
    execFileSync('ssh-keygen', ['-q', '-N', '', '-C', name, '-f', this.path(name), ...args]);
    return this.publicLine(name);
  }

  publicLine(name: string): string {
    return readFileSync(this.path(`${name}.pub`), 'utf8').trim();
  }

  /** Starts the real ssh-agent; gives the path of its socket. */
  async startAgent(name = 'real-agent'): Promise<string> {
    const path = this.path(name);
    const child = spawn('ssh-agent', ['-D', '-a', path], { stdio: ['ignore', 'pipe', 'ignore'] });
    this.#children.push(child);
    await new Promise((resolve) => child.stdout!.once('data', resolve)); // printed once it listens
    return path;
  }

  /** Lets these public lines in; `options` are further lines of sshd_config. */
  authorize(lines: string[], options: string[] = []): void {
    if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
    writeFileSync(this.path('authorized_keys'), lines.map((line) => `${line}\n`).join(''));
    const config = [
      `AuthorizedKeysFile ${this.path('authorized_keys')}`,
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PermitRootLogin yes',
      'StrictModes no',
      'UsePAM no',
      'PidFile none',
      ...options,
    ];
    writeFileSync(this.path('sshd_config'), config.map((line) => `${line}\n`).join(''));
  }

  /** Logs in with what the agent offers and nothing else. */
  ssh({ agent, hostKey = 'host', args = [], command = 'echo in', signal }: SshOptions): Promise<Outcome> {
    const server = `${sshd} -i -f ${this.path('sshd_config')} -h ${this.path(hostKey)}`;
    const options = [
      `ProxyCommand=${server}`,
      'ProxyUseFdpass=no',
      `IdentityAgent=${agent}`,
      'IdentityFile=none',
      'BatchMode=yes',
      'StrictHostKeyChecking=no',
      'UserKnownHostsFile=/dev/null',
      'LogLevel=ERROR',
    ];
    const all = ['-F', 'none', ...options.flatMap((option) => ['-o', option]), ...args, '-l', userInfo().username];
    return this.run('ssh', [...all, 'i-0123456789abcdef0', command], signal ? { signal } : {});
  }

  async remove(): Promise<void> {
    for (const child of this.#children) {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await ended;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
