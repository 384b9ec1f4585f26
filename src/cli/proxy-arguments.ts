// The operands and flags of `keyhole proxy`, read by hand: ssh starts this verb for every connection and waits for it, and a
// library for the three costs 30 ms.
import { UsageError } from '../errors.ts';
import { nearest } from '../nearest.ts';
import { flagName, settings as settingTable } from '../settings.ts';
import { type Host, isName, parseHost, parsePort, parseUser } from '../target/host.ts';

export const proxyUsage = 'keyhole proxy [--no-daemon] [--] HOST PORT [USER]';

export interface ProxyArguments {
  /** As they were written. */
  operands: { host: string; port: string; user?: string };
  /** Undefined for what is not in the grammar: it may be a name of the configuration file. */
  host: Host | undefined;
  /** Settings, by flag name. */
  flags: Record<string, string>;
  /** False after --no-daemon. */
  daemon: boolean;
  /** What KEYHOLE_RUNTIME_DIR would say, for where ssh is started without it. */
  runtimeDir: string | undefined;
  /** Of a control socket on which the tunnel was asked for already: helper/warm.pl goes on as this process. */
  controlFd: number | undefined;
  /** And how long ago it began, s. */
  waited: number;
}

/** @throws UsageError */
export function parseProxyArguments(args: string[]): ProxyArguments {
  const flags: Record<string, string> = {};
  let daemon = true;
  let runtimeDir: string | undefined;
  let controlFd: number | undefined;
  let waited = 0;
  const settingNames = new Set(Object.keys(settingTable).map(flagName));
  let i = 0;
  for (; i < args.length && args[i]!.startsWith('-'); i++) {
    const arg = args[i]!;
    if (arg === '--') {
      i++;
      break;
    }
    if (arg === '--no-daemon') {
      daemon = false;
      continue;
    }
    const [, name, value] = /^--([a-z-]+)(?:=(.*))?$/s.exec(arg) ?? [];
    if (name === 'runtime-dir') {
      runtimeDir = absoluteFolder(value ?? args[++i]);
      continue;
    }
    if (name === 'control-fd' && /^\d{1,4}$/.test(value ?? '')) {
      controlFd = Number(value);
      continue;
    }
    if (name === 'waited' && /^\d{1,4}$/.test(value ?? '')) {
      waited = Number(value);
      continue;
    }
    if (name === undefined || !settingNames.has(name)) throw unknownOption(arg, settingNames);
    const given = value ?? args[++i];
    if (given === undefined)
      throw new UsageError('bad-usage', `--${name} needs a value`, { hint: `usage: ${proxyUsage}` });
    flags[name] = given;
  }
  const operands = args.slice(i);
  if (operands.length < 2 || operands.length > 3) {
    throw new UsageError(
      'bad-usage',
      `proxy takes a host, a port and perhaps a user, not ${operands.length === 1 ? 'one operand' : `${operands.length} operands`}`,
      {
        hint: `usage: ${proxyUsage}`,
      },
    );
  }
  const [host, port, user] = operands;
  parsePort(port!);
  if (user !== undefined) parseUser(user);
  return {
    operands: { host: host!, port: port!, ...(user !== undefined && { user }) },
    host: knownHost(host!),
    flags,
    daemon,
    runtimeDir,
    controlFd,
    waited,
  };
}

function knownHost(name: string): Host | undefined {
  try {
    return parseHost(name);
  } catch (error) {
    if (isName(name)) return undefined;
    throw error;
  }
}

function absoluteFolder(path: string | undefined): string {
  if (path?.startsWith('/') && !path.includes('\0')) return path;
  throw new UsageError('bad-usage', '--runtime-dir needs an absolute path', { hint: `usage: ${proxyUsage}` });
}

function unknownOption(arg: string, known: Iterable<string>): UsageError {
  const near = nearest(arg.replace(/^-+/, '').replace(/=.*/s, ''), [...known, 'no-daemon', 'runtime-dir']);
  return new UsageError('bad-usage', `${JSON.stringify(arg.slice(0, 80))} is not an option of proxy`, {
    hint: near === undefined ? `usage: ${proxyUsage}` : `did you mean --${near}?`,
  });
}
