// The text that ssh's configuration gets: pure, from plain values. Only options that OpenSSH 8.4 knows, since newer ones
// would need IgnoreUnknown, which would take effect in place of the user's own (ssh_config(5): the first value counts).
import { KeyholeError } from '../errors.ts';

export interface Block {
  /** The launcher, absolute. */
  command: string;
  /** Options of `proxy`. */
  options: string[];
  /** Patterns for ssh's `Host`, besides those of ids and `*.ec2`. */
  patterns: string[];
  /** The default login name. */
  user: string;
  /** What holds for some hosts only, by patterns as after `Host`; the first that matches counts. */
  tables: { patterns: string[]; user?: string; hostKeysVerified?: boolean }[];
  /** Where the daemon's sockets and known_hosts are, as ssh is to read it: `~/.ssh/keyhole`, or absolute. */
  folder: string;
  /** The file of `keyhole hosts --sync`. */
  hostsFile: string;
  /** Whether the host keys in known_hosts come from AWS; otherwise ssh takes what it meets first. */
  hostKeysVerified: boolean;
  /** How long a tunnel may be silent because its session is being resumed, ms. ssh must not be the one who gives up. */
  resumeTimeoutMs: number;
}

/** Names that nothing but a real id can have, unless somebody means to; so that `mi-nas` stays the user's own. */
export const ownPatterns = ['i', 'mi'].flatMap((kind) =>
  (kind === 'i' ? [8, 17] : [17]).flatMap((digits) => {
    const pattern = `${kind}-${'?'.repeat(digits)}`;
    return [pattern, `${pattern}.*`];
  }),
);

const aliveIntervalS = 30;

/** The file that the Include line names. */
export function renderConfig(block: Block): string {
  return `# Written by \`keyhole setup\`, which writes it anew each time. Your own lines belong in ~/.ssh/config; those that
# stand above its Include line win over these.

${renderTables(block)}Include ${sshWord(block.hostsFile)}

${renderHost(block)}`;
}

/** All that is needed; also for configurations that are read by others than ssh. */
export function renderHost(block: Block): string {
  return `Host ${patternsOf(block).join(' ')}
    ProxyCommand ${[shellWord(block.command), 'proxy', ...block.options.map(shellWord)].join(' ')} -- %h %p %r
    ProxyUseFdpass yes
    IdentityAgent ${sshWord(`${escapeTokens(block.folder)}/agent/%r@%h:%p`)}
    IdentitiesOnly no
${renderHostKeys(block, block.hostKeysVerified)}    User ${block.user}
    ServerAliveInterval ${aliveIntervalS}
    ServerAliveCountMax ${Math.max(3, Math.ceil(block.resumeTimeoutMs / 1000 / aliveIntervalS) + 1)}
`;
}

/** What stands above it; for keyhole's hosts only, since `*.prod` may be the name of others too. */
export function renderTables(block: Block): string {
  return block.tables
    .map(({ patterns, user, hostKeysVerified }) => {
      const lines = `${user === undefined ? '' : `    User ${user}\n`}${
        hostKeysVerified === undefined ? '' : renderHostKeys(block, hostKeysVerified)
      }`;
      return `Match originalhost ${patternsOf(block).join()} originalhost ${patterns.join()}\n${lines}\n`;
    })
    .join('');
}

function renderHostKeys({ folder }: Block, verified: boolean): string {
  const own = sshWord(escapeTokens(`${folder}/known_hosts`));
  return verified
    ? `    UserKnownHostsFile ${own}\n    StrictHostKeyChecking yes\n    UpdateHostKeys no\n`
    : `    UserKnownHostsFile ${own} ~/.ssh/known_hosts\n    StrictHostKeyChecking accept-new\n`;
}

function patternsOf({ patterns }: Pick<Block, 'patterns'>): string[] {
  return [...ownPatterns, '*.ec2', ...patterns];
}

/**
 * For Windows' ssh, which starts programs without a shell, passes no descriptors and has no unix sockets: each connection
 * by itself, with the user's own keys.
 */
export function renderForWindows({ patterns, user }: Pick<Block, 'patterns' | 'user'>): string {
  return `Host ${patternsOf({ patterns }).join(' ')}
    ProxyCommand node "C:\\path\\to\\keyhole\\lib\\main.js" proxy --no-daemon -- %h %p %r
    User ${user}
    ServerAliveInterval ${aliveIntervalS}
`;
}

/** `%` begins a token in ssh's paths and commands, `\${` a variable in its paths. */
function escapeTokens(path: string): string {
  if (path.includes('${')) throw unwritable(path);
  return path.replaceAll('%', '%%');
}

/** A word for ssh's own parser. */
export function sshWord(word: string): string {
  if (/["\\\p{Cc}]/u.test(word)) throw unwritable(word);
  return /^[^\s'#]+$/.test(word) ? word : `"${word}"`;
}

/**
 * A word of a ProxyCommand: read by ssh for its tokens, then by any shell (sh, zsh, fish), or by programs that split words
 * as a shell does.
 */
function shellWord(word: string): string {
  // A backslash in quotes is not the same to sh and to fish.
  if (/[\\\p{Cc}]/u.test(word)) throw unwritable(word);
  const escaped = word.replaceAll('%', '%%');
  return /^[A-Za-z0-9_@+=:,./%-]+$/.test(escaped) ? escaped : `'${escaped.replaceAll("'", "'\\''")}'`;
}

function unwritable(path: string): KeyholeError {
  return new KeyholeError('unwritable-path', `${JSON.stringify(path)} cannot be written into ssh's configuration`, {
    hint: 'install keyhole under a path without backslashes, quotes and control characters',
  });
}
