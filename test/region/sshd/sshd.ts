// The sshd of the simulated instance: the machine's own OpenSSH server where there is one, else one made with
// the ssh2 library, so that nothing needs root or an installation. Either listens on loopback, on a port of
// its own, admits the given keys only, and logs in as the user who runs it.
import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import { startEmbeddedSshd } from './embedded.ts';
import { opensshPath, startOpenssh } from './openssh.ts';

export interface SshdOptions {
  /** Public keys in authorized_keys form. */
  authorizedKeys: string[];
  /** Login name; another one than the current user only as root and with OpenSSH. */
  user?: string;
  /** Which one to start; without it OpenSSH where it is installed. */
  kind?: 'openssh' | 'ssh2';
}

export interface Sshd {
  kind: 'openssh' | 'ssh2';
  host: '127.0.0.1';
  port: number;
  user: string;
  /** Public host keys, `ssh-ed25519 AAAA…`, without comment. */
  hostKeys: string[];
  /** Ends the server with all its connections, and removes its files. */
  stop(): Promise<void>;
}

export function startSshd(options: SshdOptions): Promise<Sshd> {
  const user = options.user ?? userInfo().username;
  const kind = options.kind ?? (existsSync(opensshPath) ? 'openssh' : 'ssh2');
  return kind === 'openssh'
    ? startOpenssh({ authorizedKeys: options.authorizedKeys, user })
    : startEmbeddedSshd({ authorizedKeys: options.authorizedKeys, user });
}
