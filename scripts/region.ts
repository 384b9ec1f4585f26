// The process behind scripts/region, whose comment is its manual: starts sshd and region, prints the exports or runs a
// command with them, and leaves nothing behind.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { startAdmin } from '../test/region/admin.ts';
import type { DirectionFaults } from '../test/region/gateway/faults.ts';
import { checkPolicy, type PolicyDocument } from '../test/region/iam/policy.ts';
import { defaults, type RegionOptions } from '../test/region/options.ts';
import { type Region, startRegion } from '../test/region/region.ts';
import { generateKeyPair } from '../test/region/sshd/key-pair.ts';
import { type Sshd, type SshdOptions, startSshd } from '../test/region/sshd/sshd.ts';
import { makeTemporaryFolder, removeFolder } from '../test/region/temporary.ts';

const instanceId = 'i-0123456789abcdef0';
const nodeId = 'mi-0123456789abcdef0';
const endpointId = 'eice-0123456789abcdef0';
/** Settings of the caller's that would win over the region's. */
const competing = [
  'AWS_PROFILE',
  'AWS_DEFAULT_PROFILE',
  'AWS_SESSION_TOKEN',
  'AWS_SECURITY_TOKEN',
  'AWS_ROLE_ARN',
  'AWS_WEB_IDENTITY_TOKEN_FILE',
  'AWS_IGNORE_CONFIGURED_ENDPOINT_URLS',
  'REGION_IDENTITY_FILE',
];
/** How long a client may outlive its ssh; then what is still active is left over. */
const settleMs = 3_000;
const signals = ['SIGHUP', 'SIGINT', 'SIGTERM'] as const;

interface Settings {
  region: RegionOptions;
  /** Whether the nodes have an SSM agent. */
  agent: boolean;
  sshd: Pick<SshdOptions, 'kind'>;
  /** Whether there is a key that may log in without having been pushed. */
  identity: boolean;
  command: string[];
}

class UsageError extends Error {}

async function main(argv: string[]): Promise<number> {
  const { region: options, agent, sshd: sshdOptions, identity, command } = readArguments(argv);
  const stopped = nextSignal();
  const undo: (() => Promise<void>)[] = [];
  try {
    const folder = makeTemporaryFolder('login');
    undo.push(async () => removeFolder(folder));
    const key = identity ? generateKeyPair('region') : undefined;
    const instances = [instanceId, nodeId];
    const sshd = await startSshd({ authorizedKeys: key === undefined ? [] : [key.public], instances, ...sshdOptions });
    undo.push(() => sshd.stop());
    const nodes = instances.map((id) => ({ ...sshd.node(id), online: agent }));
    const region = await startRegion({ ...options, nodes });
    undo.push(() => region.stop());
    const admin = await startAdmin(region);
    undo.push(() => admin.stop());
    const addresses = {
      ...region.env,
      REGION_ADMIN_URL: admin.url,
      ...(region.endpoints.size === 0 ? {} : { REGION_ENDPOINT_ID: endpointId }),
    };
    const env = { ...addresses, ...directLoopback(), ...(await writeLogin(folder, key?.private, sshd)) };
    if (command.length === 0) {
      writeExports(env);
      await stopped;
    }
    const status = command.length === 0 ? 0 : await run(command, env);
    await settle(region, command.length === 0 ? 0 : settleMs);
    process.stderr.write(listSessions(region) + listTunnels(region));
    return status;
  } finally {
    for (const step of undo.reverse()) await step();
  }
}

/** From now on no signal ends this process by itself; resolved with the first. */
function nextSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of signals) process.on(signal, () => resolve());
  });
}

async function writeLogin(folder: string, privateKey: string | undefined, sshd: Sshd): Promise<Record<string, string>> {
  const identity = join(folder, 'identity');
  const knownHosts = join(folder, 'known_hosts');
  if (privateKey !== undefined) await writeFile(identity, privateKey, { mode: 0o600 });
  await writeFile(knownHosts, sshd.hostKeys.map((hostKey) => `${instanceId},${nodeId} ${hostKey}\n`).join(''));
  return {
    REGION_INSTANCE_ID: instanceId,
    REGION_NODE_ID: nodeId,
    REGION_USER: sshd.user,
    ...(privateKey === undefined ? {} : { REGION_IDENTITY_FILE: identity }),
    REGION_KNOWN_HOSTS_FILE: knownHosts,
  };
}

function readArguments(argv: string[]): Settings {
  const at = argv.indexOf('--');
  const { values } = parse(at < 0 ? argv : argv.slice(0, at));
  if (at >= 0 && at === argv.length - 1) throw new UsageError('a command must follow --');
  const strict = values.strict === true;
  const kind = values.sshd;
  if (kind !== undefined && kind !== 'openssh' && kind !== 'ssh2') throw new UsageError('--sshd takes openssh or ssh2');
  return {
    region: {
      tls: values.tls === true,
      seed: readNumber('--seed', values.seed ?? '1'),
      ...(values.port === undefined ? {} : { port: readNumber('--port', values.port) }),
      quotas: Object.fromEntries(
        values.quota.map((text) => {
          const [, action, rate] = /^(\w+)=([\d.]+)$/.exec(text) ?? [];
          if (action === undefined) throw new UsageError(`--quota takes ACTION=N, not ${text}`);
          return [action, Number(rate)];
        }),
      ),
      faults: readFaults(values.fault),
      gateway: {
        requireSignature: strict && values['no-signature'] !== true,
        requireCurrentStreamUrl: strict,
        ...(strict ? {} : { minimumClientVersion: undefined }),
      },
      endpoints: values['no-endpoint'] === true ? [] : [{ endpointId }],
      ...(values.policy.length === 0
        ? {}
        : { accessKeys: [{ ...defaults.accessKey, policies: values.policy.map(readPolicy) }] }),
    },
    agent: values['no-agent'] !== true,
    sshd: kind === undefined ? {} : { kind },
    identity: values['no-identity'] !== true,
    command: at < 0 ? [] : argv.slice(at + 1),
  };
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        tls: { type: 'boolean' },
        port: { type: 'string' },
        strict: { type: 'boolean' },
        'no-signature': { type: 'boolean' },
        quota: { type: 'string', multiple: true, default: [] },
        fault: { type: 'string', multiple: true, default: [] },
        seed: { type: 'string' },
        sshd: { type: 'string' },
        'no-agent': { type: 'boolean' },
        'no-endpoint': { type: 'boolean' },
        policy: { type: 'string', multiple: true, default: [] },
        'no-identity': { type: 'boolean' },
      },
    });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function readPolicy(file: string): PolicyDocument {
  try {
    const policy = JSON.parse(readFileSync(file, 'utf8')) as PolicyDocument;
    checkPolicy(policy);
    return policy;
  } catch (error) {
    throw new UsageError(`--policy ${file}: ${(error as Error).message}`);
  }
}

function readNumber(option: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`${option} takes a whole number, not ${text}`);
  return Number(text);
}

function readFaults(texts: string[]): { up: Partial<DirectionFaults>; down: Partial<DirectionFaults> } {
  const faults: { up: Partial<DirectionFaults>; down: Partial<DirectionFaults> } = { up: {}, down: {} };
  for (const text of texts) {
    const [, direction, name, value] =
      /^(up|down)\.(lose|double|reorder|corrupt|delayMs|bytesPerSecond|maxMessageBytes)=([\d.]+)$/.exec(text) ?? [];
    if (direction === undefined) throw new UsageError(`--fault takes up.NAME=X or down.NAME=X, not ${text}`);
    faults[direction as 'up' | 'down'][name as Exclude<keyof DirectionFaults, 'of'>] = Number(value);
  }
  return faults;
}

/** Where the caller uses a proxy, the region is reached without it. */
function directLoopback(): Record<string, string> {
  const proxied = Object.keys(process.env).some((name) => /^(https?|all)_proxy$/i.test(name));
  if (!proxied) return {};
  const list = [process.env.NO_PROXY ?? process.env.no_proxy, '127.0.0.1', 'localhost'].filter(Boolean).join(',');
  return { NO_PROXY: list, no_proxy: list };
}

/** In one write, so that who reads the last line has all of them. */
function writeExports(env: Record<string, string>): void {
  const lines = Object.entries(env).map(([name, value]) => `export ${name}='${value.replaceAll("'", "'\\''")}'\n`);
  process.stdout.write(`unset ${competing.join(' ')}\n${lines.join('')}# ready\n`);
}

/** The command's exit status, as a shell counts it. */
async function run(command: string[], env: Record<string, string>): Promise<number> {
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !competing.includes(name)));
  const child = spawn(command[0]!, command.slice(1), { stdio: 'inherit', env: { ...inherited, ...env } });
  for (const signal of signals) {
    // A terminal sends INT to the command as well; the others reach only us.
    process.on(signal, () => {
      if (signal !== 'SIGINT') child.kill(signal);
    });
  }
  return new Promise((resolve) => {
    child.once('error', (error) => {
      process.stderr.write(`region: ${command[0]}: ${error.message}\n`);
      resolve(127);
    });
    child.once('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal!]));
  });
}

async function settle(region: Region, ms: number): Promise<void> {
  const end = performance.now() + ms;
  const left = () =>
    region.sessions.some((session) => session.active) || region.tunnels.some(({ endedBy }) => endedBy === undefined);
  while (performance.now() < end && left()) await delay(20);
}

function listSessions({ sessions }: Region): string {
  const active = sessions.filter((session) => session.active).length;
  const lines = sessions.map((session) => {
    const { sessionId, target, document, status, endCause = 'active', opens, traffic } = session;
    const legs = `${opens.length} ${opens.length === 1 ? 'leg' : 'legs'}`;
    const bytes = `${traffic.up.bytes} bytes up, ${traffic.down.bytes} down`;
    return `region:   ${sessionId}  ${target}  ${document.name}  ${status} (${endCause})  ${legs}, ${bytes}\n`;
  });
  return `region: sessions: ${sessions.length}, active: ${active}\n${lines.join('')}`;
}

/** Nothing where there was none. */
function listTunnels({ tunnels }: Region): string {
  if (tunnels.length === 0) return '';
  const open = tunnels.filter(({ endedBy }) => endedBy === undefined).length;
  const lines = tunnels.map(({ instanceId, remotePort, endedBy = 'open', closeReceived, traffic, errors }) => {
    const bytes = `${traffic.up.bytes} bytes up, ${traffic.down.bytes} down`;
    const wrong = errors.length === 0 ? '' : `, ${errors.join(', ')}`;
    return `region:   ${instanceId}  ${remotePort}  ended by ${endedBy} (${closeReceived ?? '-'})  ${bytes}${wrong}\n`;
  });
  return `region: tunnels: ${tunnels.length}, open: ${open}\n${lines.join('')}`;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const wrong = error instanceof UsageError;
  process.stderr.write(`region: ${(error as Error).message}\n${wrong ? 'region: see scripts/region --help\n' : ''}`);
  process.exitCode = wrong ? 2 : 1;
}
