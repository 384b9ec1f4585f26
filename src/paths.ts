// The only place that knows where keyhole's files are. Nothing is created or looked at here.
// XDG Base Directory Specification 0.8; `~/.ssh/keyhole` is a contract (design.md section 6).
import { isAbsolute, join } from 'node:path';

/** Each is undefined where the user has no home and no variable says otherwise. */
export interface Paths {
  /** The settings, TOML. */
  configFile: string | undefined;
  /** Log and recorded failures. */
  stateDir: string | undefined;
  /** What was learned about regions' gateways (tunnel/payload-memory.ts). */
  payloadMemoryFile: string | undefined;
  /** Local tunnels that are up (daemon/forward-list.ts). */
  forwardsFile: string | undefined;
  /** V8's compile cache of our own code. Ours alone: whoever can write there can run code as us. */
  compileCacheDir: string | undefined;
  /** Sockets, and the block that ssh's configuration includes. */
  sshDir: string | undefined;
  /** Host keys that AWS vouches for; ssh's configuration names it. */
  knownHostsFile: string | undefined;
}

export function findPaths(env: NodeJS.ProcessEnv): Paths {
  const home = findHome(env);
  const under = (base: string | undefined, ...names: string[]) =>
    base === undefined ? undefined : join(base, ...names);
  const stateDir = under(absolute(env.XDG_STATE_HOME) ?? under(home, '.local', 'state'), 'keyhole');
  const sshDir = absolute(env.KEYHOLE_RUNTIME_DIR) ?? under(home, '.ssh', 'keyhole');
  return {
    configFile: under(absolute(env.XDG_CONFIG_HOME) ?? under(home, '.config'), 'keyhole', 'config.toml'),
    stateDir,
    payloadMemoryFile: under(stateDir, 'payload-sizes.json'),
    forwardsFile: under(stateDir, 'forwards.json'),
    compileCacheDir: under(absolute(env.XDG_CACHE_HOME) ?? under(home, '.cache'), 'keyhole', 'compiled'),
    sshDir,
    knownHostsFile: under(sshDir, 'known_hosts'),
  };
}

/** What ssh reads and what `setup` puts beside it; undefined for a uid without a passwd entry. */
export interface SshFiles {
  /** Of the password database, since ssh does not look at HOME. */
  home: string;
  /** The user's own configuration of ssh. */
  config: string;
  /** What it includes. */
  ownConfig: string;
  /** Host aliases, of `keyhole hosts --sync`. */
  hosts: string;
  /** What `setup` remembers. */
  memory: string;
}

export function findSshFiles(): SshFiles | undefined {
  const home = passwdHome();
  if (home === undefined) return undefined;
  const own = (name: string) => join(home, '.ssh', 'keyhole', name);
  const config = join(home, '.ssh', 'config');
  return { home, config, ownConfig: own('config'), hosts: own('hosts'), memory: own('setup.json') };
}

function findHome(env: NodeJS.ProcessEnv): string | undefined {
  return env.HOME !== undefined ? absolute(env.HOME) : passwdHome();
}

function passwdHome(): string | undefined {
  try {
    return absolute(process.getBuiltinModule('node:os').userInfo().homedir);
  } catch {
    return undefined; // a uid without a passwd entry
  }
}

/** The specification says that relative paths are to be ignored. */
function absolute(path: string | undefined): string | undefined {
  return path !== undefined && isAbsolute(path) ? path : undefined;
}
