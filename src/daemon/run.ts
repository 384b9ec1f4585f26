// Puts a daemon together from its settings and the user's folders, and runs it until its time is over.
import { join } from 'node:path';
import { Keyring } from '../agent/keyring.ts';
import { AwsContexts } from '../aws/contexts.ts';
import { systemClock } from '../clock.ts';
import { recordFailure } from '../failure-record.ts';
import { HostKeys } from '../hostkeys/host-keys.ts';
import { KeyPush } from '../keypush/key-push.ts';
import type { Log } from '../log.ts';
import { NetworkWatch } from '../network-watch.ts';
import { askOwnProcess } from '../own-process.ts';
import type { Paths } from '../paths.ts';
import { ensurePrivateFolder } from '../private-folder.ts';
import { collectAtEnd } from '../process-end.ts';
import type { Settings } from '../settings.ts';
import { InstanceNames } from '../target/names.ts';
import { TunnelChoice } from '../tunnel/choice.ts';
import { payloadMemory } from '../tunnel/payload-memory.ts';
import { AgentSockets } from './agent-sockets.ts';
import { Daemon } from './daemon.ts';
import { ForwardList } from './forward-list.ts';
import { LeftSessions, tellOfKilled } from './left-sessions.ts';
import { assertNotServed } from './listener.ts';
import type { DaemonParts } from './parts.ts';
import { SessionLedger } from './session-ledger.ts';

export interface RunOptions {
  /** Where it may write; a private daemon may be without any. */
  paths: Paths;
  settings: Settings;
  log: Log;
  /** Arguments of our own child that prints the AWS settings of its surroundings. */
  resolveArguments(wanted: { profile?: unknown; region?: unknown }): string[];
  /** A descriptor that listens on the control socket already (activation.ts). */
  inherited?: number | undefined;
  /** Aborted by SIGTERM and SIGINT. */
  signal: AbortSignal;
}

/** The daemon of this user. @throws KeyholeError `already-running`, `control-listen`, `unsafe-folder`, … */
export async function runDaemon(options: RunOptions, sshDir: string): Promise<void> {
  ensurePrivateFolder(sshDir);
  // Before the agent sockets: a second daemon must not take them from the first.
  if (options.inherited === undefined) await assertNotServed(join(sshDir, 'control.sock'));
  await run(options, sshDir, new SessionLedger(options.paths.stateDir), (daemon) => daemon.run());
}

/** A daemon for the one connection on `fd`. Never rejects: there is nobody to be told. */
export async function runPrivateDaemon(options: RunOptions, fd: number): Promise<void> {
  await run(options, undefined, new SessionLedger(undefined), (daemon) => daemon.runPrivate(fd));
}

async function run(
  options: RunOptions,
  sshDir: string | undefined,
  ledger: SessionLedger,
  until: (daemon: Daemon) => Promise<void>,
): Promise<void> {
  const { log, settings, paths, signal, resolveArguments } = options;
  const clock = systemClock;
  collectAtEnd();
  tellOfKilled(ledger, (where, error) => recordFailure(paths.stateDir, where, error));
  const left = new LeftSessions(ledger, log);
  const resolveAws: DaemonParts['resolveAws'] = (caller, wanted) => askOwnProcess(resolveArguments(wanted), caller);
  const aws = new AwsContexts({
    clock,
    log,
    startSessionsPerSecond: settings.startSessionsPerSecond,
    // A daemon for one connection has no next one.
    keepReadyMs: sshDir === undefined ? 0 : settings.readyConnectionsMs,
    resolve: resolveAws,
    onOpened: (context) => void left.endOf(context),
  });
  const networkWatch = new NetworkWatch(clock);
  // After a stop, as by a debugger or a frozen container.
  process.on('SIGCONT', () => networkWatch.glance());
  const keyring = new Keyring({ clock, lifetimeMs: settings.keyLifetimeMs });
  const keyPush = new KeyPush(clock, log);
  const hostKeys = new HostKeys(clock, log, paths.knownHostsFile);
  const isPrivate = sshDir === undefined;
  const agentParts = { upstream: settings.agentUpstream, keyring, keyPush, clock, log, general: !isPrivate };
  const agents = await openAgents(sshDir ?? paths.sshDir, agentParts, isPrivate);
  const daemon = new Daemon({
    sshDir: sshDir ?? '',
    inherited: options.inherited,
    idleTimeoutMs: settings.idleTimeoutMs,
    leftSessions: () => left.list().map(({ sessionId, target, region }) => ({ sessionId, target, region })),
    parts: {
      clock,
      log,
      aws,
      keyring,
      keyPush,
      hostKeys,
      agents,
      ledger,
      forwardList: new ForwardList(isPrivate ? undefined : paths.forwardsFile),
      names: new InstanceNames(clock),
      choice: new TunnelChoice(clock, log),
      networkWatch,
      payloadMemory: payloadMemory(paths.payloadMemoryFile, clock.wallTime),
      resolveAws,
      recordFailure: (where, error) => recordFailure(paths.stateDir, where, error),
    },
  });
  const stop = () => daemon.stop('told to stop');
  if (signal.aborted) stop();
  else signal.addEventListener('abort', stop, { once: true });
  // An error that belongs to no tunnel: what else is broken is not known, so no new tunnel comes here.
  const onError = (error: unknown) => {
    log('error', 'unexpected error', { what: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    daemon.drain('unexpected error');
  };
  process.removeAllListeners('uncaughtException'); // for a process of one tunnel it is the end
  process.on('uncaughtException', onError);
  process.on('unhandledRejection', onError);
  void left.endAll(({ env, cwd, wanted }) => aws.open({ env, cwd }, wanted, () => resolveAws({ env, cwd }, wanted)));
  try {
    await until(daemon);
  } finally {
    keyPush.close();
    hostKeys.close();
    aws.close();
    ledger.close();
    await agents?.stop();
  }
}

/** A private daemon takes part where it can; without agent the user's own keys have to do. */
async function openAgents(
  folder: string | undefined,
  parts: Omit<Parameters<typeof AgentSockets.open>[0], 'sshDir'>,
  optional: boolean,
): Promise<AgentSockets | undefined> {
  if (folder === undefined) return undefined;
  try {
    return await AgentSockets.open({ sshDir: folder, ...parts });
  } catch (error) {
    if (!optional) throw error;
    parts.log('error', 'no agent sockets', { why: error instanceof Error ? error.message : String(error) });
    return undefined;
  }
}
