// The daemon as a unit of systemd's user manager, started by the first connection to its socket (systemd.socket(5)): it
// then belongs to no shell, editor or cron job.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { KeyholeError } from '../errors.ts';
import { daemonAllocation } from '../own-process.ts';

export const socketUnit = 'keyhole.socket';
export const serviceUnit = 'keyhole.service';
const timeoutMs = 20_000;

export function renderSocketUnit(socket: string): string {
  return `# Written by \`keyhole setup\`, which writes it anew each time.
[Unit]
Description=Socket of the keyhole daemon
Documentation=man:keyhole(1)

[Socket]
ListenStream=${escapeSpecifiers(socket)}
SocketMode=0600
DirectoryMode=0700

[Install]
WantedBy=sockets.target
`;
}

/**
 * @param command the launcher, absolute
 * @param environment what the daemon needs of the environment of who set it up
 */
export function renderServiceUnit(command: string, environment: Record<string, string>): string {
  const variables = Object.entries({ ...environment, ...daemonAllocation }).map(
    ([name, value]) => `Environment=${quote(`${name}=${value}`)}\n`,
  );
  return `# Written by \`keyhole setup\`, which writes it anew each time.
[Unit]
Description=keyhole daemon: tunnels of ssh to EC2 instances and hybrid nodes
Documentation=man:keyhole(1)
Requires=${socketUnit}
After=${socketUnit}

[Service]
ExecStart=${quote(command).replaceAll('$', '$$$$')} daemon run
${variables.join('')}UMask=0077
`;
}

/** The folder of the user's units (systemd.unit(5)). */
export function unitFolder(home: string, env: NodeJS.ProcessEnv): string {
  return join(env.XDG_CONFIG_HOME?.startsWith('/') ? env.XDG_CONFIG_HOME : join(home, '.config'), 'systemd', 'user');
}

/** What the manager makes when a unit is enabled. */
export function enabledLink(folder: string): string {
  return join(folder, 'sockets.target.wants', socketUnit);
}

/**
 * Makes the manager listen. A daemon that somebody else started sees its socket replaced, and drains; one that the manager
 * started goes on, unless it is another socket from now on.
 * @throws KeyholeError `service-manager`
 */
export function enable({ anotherSocket }: { anotherSocket: boolean }): void {
  systemctl('daemon-reload');
  systemctl('enable', '--quiet', socketUnit);
  if (anotherSocket) {
    systemctl('stop', serviceUnit); // while it runs, the socket cannot be started
    systemctl('restart', socketUnit);
  } else {
    systemctl('start', socketUnit);
  }
}

/** Units that are not there are no error. */
export function disable(): void {
  try {
    systemctl('disable', '--quiet', '--now', socketUnit);
    systemctl('stop', serviceUnit);
  } catch {
    // No manager: then nothing of it runs either, and the files are removed all the same.
  }
}

export function reload(): void {
  try {
    systemctl('daemon-reload');
  } catch {
    // As above.
  }
}

function systemctl(...args: string[]): void {
  const { error, status, stderr } = spawnSync('systemctl', ['--user', ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: timeoutMs,
  });
  if (error === undefined && status === 0) return;
  const why = error === undefined ? stderr.trim().split('\n').at(-1) : (error as NodeJS.ErrnoException).code;
  throw new KeyholeError('service-manager', `systemctl --user ${args.join(' ')} failed: ${why}`, {
    hint: 'without systemd: `keyhole setup --no-service`; the first connection starts the daemon then',
    cause: error,
  });
}

/** systemd.syntax(7), systemd.service(5): quotes, backslashes, and `%` specifiers. */
function quote(word: string): string {
  const escaped = escapeSpecifiers(word);
  return /^[A-Za-z0-9_@+=:,./%-]+$/.test(escaped) ? escaped : `"${escaped.replace(/["\\]/g, '\\$&')}"`;
}

function escapeSpecifiers(text: string): string {
  if (/\p{Cc}/u.test(text)) {
    throw new KeyholeError('unwritable-path', `${JSON.stringify(text)} cannot be written into a unit of systemd`);
  }
  return text.replaceAll('%', '%%');
}
