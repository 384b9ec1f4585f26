// `keyhole proxy`: what ssh runs. Opens a tunnel and relays stdin and stdout over it, in this process. Its operands are
// read by hand: ssh starts this verb for every connection and waits for it, and a library for the three costs 30 ms.
import { systemClock } from '../clock.ts';
import { loadSettings } from '../config.ts';
import { KeyholeError, TransportError, UsageError } from '../errors.ts';
import { nearest } from '../nearest.ts';
import { findPaths } from '../paths.ts';
import { flagName, settings as settingTable, showDuration } from '../settings.ts';
import { type Host, parseHost, parsePort, parseUser } from '../target/host.ts';
import { EarlyInput } from '../tunnel/early-input.ts';
import type { TunnelOptions } from '../tunnel/open.ts';
import { payloadMemory } from '../tunnel/payload-memory.ts';
import { relay } from '../tunnel/relay.ts';
import type { Transport } from '../tunnel/transport.ts';
import { openLog } from './log-file.ts';
import type { VerbContext } from './run.ts';

export const proxyUsage = 'keyhole proxy [--no-daemon] [--] HOST PORT [USER]';

export interface ProxyArguments {
  host: Host;
  port: number;
  user: string | undefined;
  /** Settings, by flag name. */
  flags: Record<string, string>;
}

export async function proxy(args: string[], { terminal, env, signal }: VerbContext): Promise<void> {
  const parentPid = process.ppid;
  const { host, port, flags } = parseProxyArguments(args);
  const paths = findPaths(env);
  const settings = loadSettings({ flags, env, file: paths.configFile });
  const log = openLog(settings);
  const clock = systemClock;
  log('info', 'proxy-start', { host: host.name, port });

  const hangUp = new AbortController();
  const stopped = AbortSignal.any([signal, hangUp.signal]);
  const early = new EarlyInput(process.stdin, () => {
    hangUp.abort(new KeyholeError('interrupted', 'stdin was closed before the tunnel was open'));
  });
  try {
    const memory = payloadMemory(paths.payloadMemoryFile, clock.wallTime);
    const transport = await open(host, port, { settings, payloadMemory: memory, clock, log, signal: stopped });
    log('info', 'tunnel-open', { host: host.name, port });
    await relay({
      stdin: early.release(),
      stdout: process.stdout,
      transport,
      clock,
      firstByteTimeoutMs: settings.firstByteTimeoutMs,
      noAnswer: () => noAnswer(host, port, settings.firstByteTimeoutMs),
      onFirstByte: () => terminal.silence(),
      signal: stopped,
      isOrphan: () => process.ppid !== parentPid,
    });
    log('info', 'tunnel-closed', { host: host.name, port, ...transport.stats() });
  } catch (error) {
    log('error', 'proxy-failed', { host: host.name, port, ...describe(error) });
    throw error;
  }
}

/** Opens the tunnel within the deadline, which covers everything from AWS's credentials to the channel's handshake. */
async function open(
  host: Host,
  port: number,
  options: Pick<TunnelOptions, 'settings' | 'payloadMemory' | 'clock' | 'log' | 'signal'>,
): Promise<Transport> {
  const { clock, log, settings } = options;
  const deadline = new AbortController();
  const timer = clock.after(settings.deadlineMs, () => deadline.abort(overdue(host, settings.deadlineMs)));
  try {
    const [{ openAws }, { openTunnel }] = await Promise.all([import('../aws/context.ts'), import('../tunnel/open.ts')]);
    const aws = await openAws({ profile: host.profile, region: host.region, clock, log });
    const signal = AbortSignal.any([options.signal, deadline.signal]);
    return await openTunnel({ ...options, target: host.instanceId, port, aws, signal });
  } finally {
    timer.cancel();
  }
}

/** @throws UsageError */
export function parseProxyArguments(args: string[]): ProxyArguments {
  const flags: Record<string, string> = {};
  const settingNames = new Set(Object.keys(settingTable).map(flagName));
  let i = 0;
  for (; i < args.length && args[i]!.startsWith('-'); i++) {
    const arg = args[i]!;
    if (arg === '--') {
      i++;
      break;
    }
    if (arg === '--no-daemon') continue;
    const [, name, value] = /^--([a-z-]+)(?:=(.*))?$/s.exec(arg) ?? [];
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
      `proxy takes a host, a port and perhaps a user, not ${operands.length} operands`,
      {
        hint: `usage: ${proxyUsage}`,
      },
    );
  }
  const [host, port, user] = operands;
  return {
    host: parseHost(host!),
    port: parsePort(port!),
    user: user === undefined ? undefined : parseUser(user),
    flags,
  };
}

function unknownOption(arg: string, known: Iterable<string>): UsageError {
  const near = nearest(arg.replace(/^-+/, '').replace(/=.*/s, ''), [...known, 'no-daemon']);
  return new UsageError('bad-usage', `${JSON.stringify(arg.slice(0, 80))} is not an option of proxy`, {
    hint: near === undefined ? `usage: ${proxyUsage}` : `did you mean --${near}?`,
  });
}

function overdue(host: Host, deadlineMs: number): TransportError {
  return new TransportError('deadline', `no tunnel to ${host.name} within ${showDuration(deadlineMs)}`, {
    hint: 'the setting deadline allows more; KEYHOLE_LOG_FILE and KEYHOLE_LOG_LEVEL=debug show where the time goes',
  });
}

function noAnswer(host: Host, port: number, timeoutMs: number): TransportError {
  return new TransportError(
    'no-answer',
    `nothing answered on port ${port} of ${host.name} within ${showDuration(timeoutMs)}`,
    {
      hint: `is sshd running there and listening on port ${port}?`,
    },
  );
}

function describe(error: unknown): { code: string; message: string } {
  if (error instanceof KeyholeError) return { code: error.code, message: error.message };
  return { code: 'internal', message: String(error instanceof Error ? error.stack : error) };
}
