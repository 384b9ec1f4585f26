// The table of settings: what exists, which values are allowed, and what holds if nobody says anything.
// The man page is checked against it. How values are found: config.ts.

/** How a value is written, and how it is read. `read` gives undefined for what is not allowed. */
export interface Kind<T> {
  /** Completes "… must be". */
  readonly allowed: string;
  /** From the configuration file, or as text from the environment or a flag. */
  read(value: unknown): T | undefined;
}

export interface Setting<T> extends Kind<T> {
  readonly default: T;
  /** One line for the man page. */
  readonly about: string;
  /** What it is about, and so where in the file it may stand (config.ts). */
  readonly scope: Scope;
}

/**
 * `connection`: for all hosts, or in the table of some. `host`: in such a table only, for what holds for every host has a
 * better place (AWS_PROFILE). `program`: outside of these tables, since it is the daemon's or the process's.
 */
export type Scope = 'connection' | 'host' | 'program';

const unitMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/**
 * Keys are the names in code. In the file a setting is called as here but in snake case without the unit
 * (`pingIntervalMs` is `ping_interval`), in the environment KEYHOLE_PING_INTERVAL, as a flag --ping-interval.
 */
export const settings = {
  target: ofHost<string | undefined>(
    pattern(
      /^(?:(?:i-(?:[0-9a-f]{8}|[0-9a-f]{17})|mi-[0-9a-f]{17})(?:\.[\w.@+=-]{1,160})?|\w[\w.@+=-]{0,254}\.ec2)$/,
      'a host: i-… or mi-…, perhaps with .REGION and .PROFILE, or NAME.ec2',
    ),
    undefined,
    'the host that is meant by this name: an alias',
  ),
  profile: ofHost<string | undefined>(
    pattern(/^[^\p{C}]{1,128}$/u, 'the name of an AWS profile'),
    undefined,
    'AWS profile; wins over AWS_PROFILE, and a profile in the name of the host over it',
  ),
  region: ofHost<string | undefined>(
    pattern(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, 'an AWS region, such as eu-west-1'),
    undefined,
    'AWS region; wins over AWS_REGION, and a region in the name of the host over it',
  ),
  user: setting<string | undefined>(
    pattern(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,30}[A-Za-z0-9$_-]?$/, 'a login name'),
    undefined,
    'login name for which the key is pushed where proxy is given none',
  ),
  port: setting<number | undefined>(
    integer(1, 65_535),
    undefined,
    "port of the host's sshd: the one that is meant by ssh's default, 22",
  ),
  deadlineMs: setting(duration(1_000, 600_000), 14_000, 'how long a connection may take until ssh can talk'),
  firstByteTimeoutMs: setting(
    duration(0, 300_000),
    10_000,
    'how long the target may stay silent after the tunnel is open, before it is taken that nothing answers there; 0 does not wait, for services in which the client speaks first',
  ),
  waitMs: setting(
    duration(0, 600_000),
    10_000,
    'how long a target is waited for that is not connected, or boots; within the deadline',
  ),
  start: setting(
    flag(),
    false,
    'whether an instance that is stopped is started; start_timeout holds then in place of wait and deadline',
  ),
  startTimeoutMs: setting(
    duration(1_000, 1_800_000),
    180_000,
    'how long an instance that is started may take until it can be reached',
  ),
  transport: setting(
    choice('auto', 'ssm', 'eice'),
    'auto',
    'the way to an instance: SSM, EC2 Instance Connect Endpoint, or the latter where the former refuses',
  ),
  sshDocument: setting(
    pattern(/^[A-Za-z0-9_\-.:/]{3,128}$/, 'the name or ARN of an SSM document'),
    'AWS-StartSSHSession',
    'SSM document that starts the session; it must be of type Port and take portNumber',
  ),
  clientVersion: setting(
    pattern(/^[0-9]{1,5}(\.[0-9]{1,5}){3}$/, 'a version of four numbers, such as 1.2.896.0'),
    '1.2.896.0',
    'version of the Session Manager plugin that keyhole claims to be towards AWS and the agent',
  ),
  maxPayloadBytes: setting(
    integer(1_024, 1_048_576),
    32_768,
    'size up to which messages grow under backlog; 1024 is what the Session Manager plugin sends',
  ),
  maxMessagesPerSecond: setting(integer(10, 100_000), 900, 'messages per second and session that are not exceeded'),
  pingIntervalMs: setting(
    duration(1_000, 300_000),
    25_000,
    'how often a sign of life is sent to AWS; short enough for proxies and NAT',
  ),
  resumeTimeoutMs: setting(
    duration(0, 3_600_000),
    1_200_000,
    'how long a session whose connection was cut is tried to be resumed',
  ),
  streamHosts: setting(
    list(
      /^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/,
      'a list of host names; *. at the start stands for any labels',
    ),
    [] as readonly string[],
    'hosts, besides those of AWS, to which a session may lead (a VPC endpoint behind a name of its own)',
  ),
  eiceEndpointId: setting<string | undefined>(
    pattern(/^eice-[0-9A-Za-z_]{1,64}$/, 'the id of an EC2 Instance Connect Endpoint, eice-…'),
    undefined,
    'EC2 Instance Connect Endpoint to go through, in place of the one found in the VPC of the instance',
  ),
  eiceEndpoint: setting<string | undefined>(
    pattern(
      /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?$/,
      'a host name, perhaps with a port',
    ),
    undefined,
    'where that endpoint is reached, if not by the name that EC2 knows',
  ),
  maxTunnelDurationMs: setting(
    duration(1_000, 3_600_000),
    3_600_000,
    'after which EC2 Instance Connect Endpoint ends a tunnel; a policy may ask for less',
  ),
  push: setting(
    way('instance-connect', 'ssm-shell'),
    'instance-connect',
    'how the public key of the daemon gets onto an instance or node',
  ),
  pushLifetimeMs: setting(
    duration(30_000, 999_000),
    120_000,
    'how long a key that was pushed over SSM can log in; EC2 Instance Connect has a minute of its own',
  ),
  hostKeys: setting(
    way('ssm-shell', 'console-output'),
    'off',
    'where the public host keys of an instance or node are learned, so that ssh knows them before the first connection',
  ),
  forwardSessions: setting(
    choice('shared', 'separate'),
    'shared',
    'whether the connections of a local tunnel share a session, or each has one of its own',
  ),
  forwardIdleTimeoutMs: setting(
    duration(0, 86_400_000),
    300_000,
    'how long the session of a local tunnel stays when its last connection has gone',
  ),
  forwardDocument: setting(
    pattern(/^[A-Za-z0-9_\-.:/]{3,128}$/, 'the name or ARN of an SSM document'),
    'AWS-StartPortForwardingSession',
    'SSM document for shared sessions to a port of the host; it must take portNumber and be of type LocalPortForwarding',
  ),
  forwardRemoteDocument: setting(
    pattern(/^[A-Za-z0-9_\-.:/]{3,128}$/, 'the name or ARN of an SSM document'),
    'AWS-StartPortForwardingSessionToRemoteHost',
    'SSM document for shared sessions to another machine; it must also take host',
  ),
  startSessionsPerSecond: ofProgram(
    integer(1, 1_000),
    3,
    'AWS quota of StartSession for the account and region; more connections at once wait in line',
  ),
  readyConnectionsMs: ofProgram(
    duration(0, 3_600_000),
    300_000,
    "for how long after its last use the daemon holds one connection open to AWS's gateway for the next tunnel; 0 holds none",
  ),
  idleTimeoutMs: ofProgram(duration(1_000, 604_800_000), 600_000, 'how long a daemon stays that nobody uses'),
  keyLifetimeMs: ofProgram(
    duration(60_000, 604_800_000),
    3_600_000,
    'how long the daemon uses one key before it makes another',
  ),
  agentUpstream: ofProgram<string | undefined>(
    absolutePath(),
    undefined,
    'socket of your own ssh-agent, for where it is not found by itself (1Password, Secretive)',
  ),
  agentAllowUnbound: ofProgram(
    flag(),
    false,
    'whether clients that do not bind their agent connection (ssh before 8.9) are offered the key of the daemon',
  ),
  logLevel: ofProgram(choice('error', 'info', 'debug'), 'error', 'how much is logged'),
  logFile: ofProgram<string | undefined>(
    absolutePath(),
    undefined,
    'where proxy logs to; nothing is logged without it',
  ),
} satisfies Record<string, Setting<unknown>>;

export type SettingName = keyof typeof settings;
export type Settings = {
  readonly [Name in SettingName]: (typeof settings)[Name] extends Setting<infer T> ? T : never;
};

/** `pingIntervalMs` → `ping_interval`; `agentAllowUnbound` → `agent.allow_unbound`, in the table `[agent]`. */
export function fileKey(name: string): string {
  const key = name.replace(/Ms$/, '').replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return key.replace(/^agent_/, 'agent.');
}

/** `pingIntervalMs` → `KEYHOLE_PING_INTERVAL`. */
export function envName(name: string): string {
  return `KEYHOLE_${fileKey(name).replace('.', '_').toUpperCase()}`;
}

/** `pingIntervalMs` → `ping-interval`. */
export function flagName(name: string): string {
  return fileKey(name).replace(/[._]/g, '-');
}

function setting<T>(kind: Kind<T>, fallback: T, about: string): Setting<T> {
  return { ...kind, default: fallback, about, scope: 'connection' };
}

function ofHost<T>(kind: Kind<T>, fallback: T, about: string): Setting<T> {
  return { ...kind, default: fallback, about, scope: 'host' };
}

function ofProgram<T>(kind: Kind<T>, fallback: T, about: string): Setting<T> {
  return { ...kind, default: fallback, about, scope: 'program' };
}

function integer(min: number, max: number): Kind<number> {
  return {
    allowed: `a whole number from ${min} to ${max}`,
    read(value) {
      const number = typeof value === 'string' && /^[0-9]{1,15}$/.test(value) ? Number(value) : value;
      return typeof number === 'number' && Number.isInteger(number) && number >= min && number <= max
        ? number
        : undefined;
    },
  };
}

/** Written `500ms`, `14s`, `20m`, `1h`, or as a number of seconds; milliseconds in code. */
function duration(minMs: number, maxMs: number): Kind<number> {
  return {
    allowed: `a time from ${showDuration(minMs)} to ${showDuration(maxMs)}, such as "14s" or "20m"`,
    read(value) {
      const match = /^([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h)?$/.exec(String(value));
      if (!match || (typeof value !== 'string' && typeof value !== 'number')) return undefined;
      const ms = Math.round(Number(match[1]) * unitMs[(match[2] ?? 's') as keyof typeof unitMs]);
      return ms >= minMs && ms <= maxMs ? ms : undefined;
    },
  };
}

/** `14000` → `14s`: the largest unit that gives a whole number. */
export function showDuration(ms: number): string {
  for (const unit of ['h', 'm', 's'] as const) {
    if (ms >= unitMs[unit] && ms % unitMs[unit] === 0) return `${ms / unitMs[unit]}${unit}`;
  }
  return ms === 0 ? '0s' : `${ms}ms`;
}

function pattern(regex: RegExp, allowed: string): Kind<string> {
  return { allowed, read: (value) => (typeof value === 'string' && regex.test(value) ? value : undefined) };
}

/** An array in the file, separated by commas elsewhere. */
function list(regex: RegExp, allowed: string): Kind<readonly string[]> {
  return {
    allowed,
    read(value) {
      const items = typeof value === 'string' ? value.split(',').map((item) => item.trim()) : value;
      const good = Array.isArray(items) && items.every((item) => typeof item === 'string' && regex.test(item));
      return good ? items.map((item: string) => item.toLowerCase()) : undefined;
    },
  };
}

function choice<const T extends string>(...values: T[]): Kind<T> {
  return {
    allowed: `one of ${values.join(', ')}`,
    read: (value) => values.find((allowed) => allowed === value),
  };
}

/** A way of one's own in SSM, by its document; one of AWS's; or none. */
function way<const T extends string>(...values: T[]): Kind<T | `ssm-document:${string}` | 'off'> {
  const isDocument = (value: string): value is `ssm-document:${string}` =>
    /^ssm-document:[A-Za-z0-9_\-.:/]{3,128}$/.test(value);
  return {
    allowed: `one of ${values.join(', ')}, ssm-document:NAME, off`,
    read(value) {
      if (value === 'off' || value === 'none') return 'off';
      return (
        values.find((known) => known === value) ?? (typeof value === 'string' && isDocument(value) ? value : undefined)
      );
    },
  };
}

function flag(): Kind<boolean> {
  return {
    allowed: 'true or false',
    read: (value) =>
      typeof value === 'boolean' ? value : value === 'true' ? true : value === 'false' ? false : undefined,
  };
}

function absolutePath(): Kind<string> {
  return {
    allowed: 'an absolute path',
    read: (value) => (typeof value === 'string' && value.startsWith('/') && !value.includes('\0') ? value : undefined),
  };
}

/** A value that was given, for a message. */
export function show(value: unknown): string {
  const text = JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? String(part) : part)) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}
