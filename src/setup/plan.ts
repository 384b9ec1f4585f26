// What `setup` would do: all changes to files, decided from the options of now and of last time, the user's ssh and its
// configuration. Nothing is changed here.
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import type { ConfigFile } from '../config-file.ts';
import type { SshFiles } from '../paths.ts';
import { type Block, renderConfig } from './block.ts';
import { type Change, changeOf, readIfThere } from './change.ts';
import type { SocketFolder } from './folder.ts';
import { addInclude, hasInclude, removeInclude } from './include-line.ts';
import { findMissing, type Memory, noOptions, readMemory, type SetupOptions, serializeMemory } from './memory.ts';
import { readOptions } from './options.ts';
import { type Applied, askVersion, askWithConfig, isBefore, sampleHost } from './ssh.ts';
import { enabledLink, renderServiceUnit, renderSocketUnit, serviceUnit, socketUnit, unitFolder } from './systemd.ts';
import { readIdentityAgent } from './upstream.ts';

export interface Surroundings {
  files: SshFiles;
  env: NodeJS.ProcessEnv;
  /** The launcher, absolute. */
  command: string;
  folder: SocketFolder;
  /** Whether systemd's user manager is there. */
  hasManager: boolean;
  /** Where keyhole will put files as it is used. */
  ownFolders: (string | undefined)[];
  resumeTimeoutMs: number;
  configFile: ConfigFile;
}

export interface Plan {
  block: Block;
  changes: Change[];
  /** What systemd has to be told: to listen, perhaps to another socket than before, or no more. */
  service: { listen: true; anotherSocket: boolean } | { listen: false } | undefined;
  /** For the user to read. */
  notes: string[];
}

/** The word after `Include`, and the other ways to write it. */
export const includedPath = '~/.ssh/keyhole/config';
export const includedPaths = ({ ownConfig }: SshFiles) => [includedPath, 'keyhole/config', ownConfig];

/**
 * @param given options of this run; undefined: as last time
 * @throws KeyholeError `bad-ssh-config`, `no-ssh`, `setup-file`, `unwritable-path`; UsageError `bad-usage`, `bad-user`
 */
export function makePlan(
  { files, ...given }: Surroundings,
  options: { [Name in keyof SetupOptions]: SetupOptions[Name] | undefined },
): Plan {
  const { folder, command, env } = given;
  const remembered = readMemory(files.memory);
  const merged = mergeOptions(remembered?.options ?? noOptions, options);
  const notes = folder.named ? [`the sockets of keyhole are in ${folder.path}`] : [];
  const without = appliedWithoutOurs(files);
  const read = readOptions(merged, given.configFile);
  noteUser(without, read.user, notes);
  noteHostKeys(without, read.hostKeysVerified, notes);
  const block: Block = {
    command,
    options: proxyOptions(files, folder, without, notes),
    ...read,
    folder: folder.written,
    hostsFile: '~/.ssh/keyhole/hosts',
    resumeTimeoutMs: given.resumeTimeoutMs,
  };
  const units = planUnits(merged.service ?? given.hasManager, { home: files.home, env, command, folder });
  const before = remembered?.made ?? [];
  const missing = findMissing(files.home, [files.ownConfig, files.config, ...given.ownFolders, ...units.made]);
  const memory: Memory = {
    options: merged,
    made: [...new Set([...before, ...missing])].sort(),
    ...(folder.named && { runtimeDir: folder.path }),
  };
  const withLine = (before: Buffer | undefined) => {
    const config = before ?? Buffer.alloc(0);
    return hasInclude(config, includedPaths(files)) ? config : addInclude(config, includedPath);
  };
  // The user's own file last: it is the one that may not be writable, and what it includes is there by then.
  const changes = [
    changeOf(files.ownConfig, () => Buffer.from(renderConfig(block))),
    changeOf(files.memory, () => serializeMemory(memory)),
    ...units.changes,
    changeOf(files.config, withLine),
  ];
  return { block, changes: changes.filter((change) => change !== undefined), service: units.service, notes };
}

function mergeOptions(
  before: SetupOptions,
  { users, patterns, service }: Parameters<typeof makePlan>[1],
): SetupOptions {
  const given = (texts: string[]) => texts.filter((text) => text !== '');
  return {
    users: users === undefined ? before.users : given(users),
    patterns: patterns === undefined ? before.patterns : given(patterns),
    service: service ?? before.service,
  };
}

/** What applies to our hosts, our own lines aside. */
function appliedWithoutOurs(files: SshFiles): Applied {
  const config = removeInclude(readIfThere(files.config) ?? Buffer.alloc(0), includedPaths(files));
  return askWithConfig(config, sampleHost);
}

/** ssh takes the first value, which is ours; where none is set it says the local user's name. */
function noteUser(without: Applied, user: string, notes: string[]): void {
  const own = without.get('user');
  if (own === undefined || own === userInfo().username || own === user) return;
  notes.push(`your own User ${own} gives way to ${user} for these hosts; keyhole setup --user ${own} keeps it`);
}

/** Who asked for strictness is not to lose it without a word. */
function noteHostKeys(without: Applied, verified: boolean, notes: string[]): void {
  if (verified || !['yes', 'true'].includes(without.get('stricthostkeychecking') ?? '')) return;
  notes.push(
    'your own StrictHostKeyChecking yes gives way to accept-new for these hosts; it holds if you move the Include line below it',
  );
}

function proxyOptions(files: SshFiles, folder: SocketFolder, without: Applied, notes: string[]): string[] {
  const version = askVersion();
  if (version === undefined) notes.push('this ssh is not OpenSSH: whether it understands the lines was not tried');
  else if (isBefore(version, 8, 4)) notes.push(`${version.name} is older than 8.4, the oldest that was tried`);
  // session-bind@openssh.com came with OpenSSH 8.9.
  const bindsAgent = version === undefined || !isBefore(version, 8, 9);
  const ownAgent = agentBefore(files, without, notes);
  return [
    ...(folder.named ? [`--runtime-dir=${folder.path}`] : []),
    ...(ownAgent === undefined ? [] : [`--agent-upstream=${ownAgent}`]),
    ...(bindsAgent ? [] : ['--agent-allow-unbound=true']),
  ];
}

/** The ssh-agent that the user's configuration names, our lines aside. */
function agentBefore({ home }: SshFiles, without: Applied, notes: string[]): string | undefined {
  const own = readIdentityAgent(without, home);
  if (own.kind === 'path') notes.push(`the keys of your ssh-agent at ${own.path} are offered after keyhole's`);
  if (own.kind === 'unclear') {
    notes.push(`your IdentityAgent ${own.value} is not used for these hosts; the setting agent.upstream can name one`);
  }
  return own.kind === 'path' ? own.path : undefined;
}

interface Units {
  changes: (Change | undefined)[];
  service: Plan['service'];
  /** Files and folders that come with them. */
  made: string[];
}

function planUnits(
  wanted: boolean,
  { home, env, command, folder }: Pick<Surroundings, 'env' | 'command' | 'folder'> & { home: string },
): Units {
  const units = unitFolder(home, env);
  const [socketPath, servicePath] = [join(units, socketUnit), join(units, serviceUnit)];
  if (!wanted) {
    const changes = [socketPath, servicePath].map((path) => changeOf(path, () => undefined));
    return { changes, service: changes[0] && { listen: false }, made: [] };
  }
  const socket = changeOf(socketPath, () => Buffer.from(renderSocketUnit(join(folder.path, 'control.sock'))));
  const environment = daemonVariables(env, folder);
  const daemon = changeOf(servicePath, () => Buffer.from(renderServiceUnit(command, environment)));
  return {
    changes: [socket, daemon],
    service: { listen: true, anotherSocket: socket !== undefined },
    made: [dirname(enabledLink(units))],
  };
}

/** The manager's environment is not that of the user's shells: the daemon has to find the same files. */
function daemonVariables(env: NodeJS.ProcessEnv, folder: SocketFolder): Record<string, string> {
  const names = ['XDG_CONFIG_HOME', 'XDG_STATE_HOME', 'XDG_CACHE_HOME'];
  const given = names.flatMap((name) => (env[name]?.startsWith('/') ? [[name, env[name]]] : []));
  return Object.fromEntries(folder.named ? [...given, ['KEYHOLE_RUNTIME_DIR', folder.path]] : given);
}
