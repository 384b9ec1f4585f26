// Starts a daemon process that outlives whoever starts it: not killed with the cron job, editor or login session
// that happened to need a tunnel first (design.md section 4).
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { daemonAllocation, ownCommand } from '../own-process.ts';

/**
 * What the daemon inherits. Nothing of AWS: each caller's settings are resolved in its own surroundings, and a profile
 * of the first caller must not reach the second. No secrets either: /proc shows a process's environment to its user.
 */
const inherited =
  /^(?:HOME|PATH|USER|LOGNAME|SHELL|LANG|LC_[A-Z]+|TZ|TMPDIR|XDG_[A-Z_]+|KEYHOLE_[A-Z_]+|DBUS_SESSION_BUS_ADDRESS)$/;

export function daemonEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => inherited.test(name)));
}

/** A daemon on its way. That it is ready is seen by connecting. */
export interface DaemonProcess {
  /** It has ended, and not because its time was over. */
  readonly failed: boolean;
}

/** Starts the daemon that listens on the control socket: by systemd's user manager where there is one, and it does. */
export function spawnDaemon(env: NodeJS.ProcessEnv, hasManager: boolean = hasUserManager(env)): DaemonProcess {
  const state = { failed: false };
  const [node, args] = ownCommand(['daemon', 'run']);
  const directly = () => {
    onFailure(detached(node, args, env, ['ignore', 'ignore', 'ignore']), () => {
      state.failed = true;
    });
  };
  if (!hasManager) {
    directly();
    return state;
  }
  // In a scope of its own it does not die with the session or service that we are part of.
  const scope = ['--user', '--scope', '--quiet', '--collect', '--', node, ...args];
  onFailure(detached('systemd-run', scope, env, ['ignore', 'ignore', 'ignore']), directly);
  return state;
}

/**
 * Starts a daemon for one connection, which is the returned child's fd 3: for where no daemon can listen. It ends with
 * its tunnel.
 */
export function spawnPrivateDaemon(env: NodeJS.ProcessEnv): ChildProcess {
  const [node, args] = ownCommand(['daemon', 'run', '--private']);
  const child = detached(node, args, env, ['ignore', 'ignore', 'ignore', 'pipe']);
  onFailure(child, () => {}); // seen by the end of fd 3
  return child;
}

function detached(command: string, args: string[], env: NodeJS.ProcessEnv, stdio: ('ignore' | 'pipe')[]): ChildProcess {
  return spawn(command, args, {
    detached: true,
    cwd: '/',
    env: { ...daemonEnvironment(env), ...daemonAllocation },
    stdio,
  });
}

/** Does not keep this process alive for it. */
function onFailure(child: ChildProcess, failed: () => void): void {
  child.once('error', failed); // not started at all; there is no `exit` then
  child.once('exit', (status) => {
    if (status !== 0) failed();
  });
  child.unref();
}

/** systemd's user manager, where `systemd-run --user` works (sd_booted(3), and the manager's private socket). */
export function hasUserManager(env: NodeJS.ProcessEnv): boolean {
  const runtime = env.XDG_RUNTIME_DIR;
  return runtime !== undefined && existsSync('/run/systemd/system') && existsSync(join(runtime, 'systemd', 'private'));
}
