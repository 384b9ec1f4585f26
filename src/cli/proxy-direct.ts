// A tunnel in this process, relayed over its stdin and stdout: `proxy --no-daemon`, and what is left where no daemon can be.
import { surroundingsKey } from '../aws/caller.ts';
import { openAws } from '../aws/own-context.ts';
import { systemClock } from '../clock.ts';
import { LeftSessions, tellOfKilled } from '../daemon/left-sessions.ts';
import { SessionLedger } from '../daemon/session-ledger.ts';
import { notesFor } from '../daemon/session-notes.ts';
import { EarlyInput } from '../early-input.ts';
import type { Route } from '../eice/endpoint.ts';
import { KeyholeError } from '../errors.ts';
import { recordFailure } from '../failure-record.ts';
import { HostKeys } from '../hostkeys/host-keys.ts';
import { NetworkWatch } from '../network-watch.ts';
import { personTimeoutMs } from '../own-process.ts';
import type { Paths } from '../paths.ts';
import { collectAtEnd } from '../process-end.ts';
import { type Call, readCall } from '../target/call.ts';
import { InstanceNames } from '../target/names.ts';
import { openOnArrival } from '../tunnel/arrival.ts';
import { TunnelChoice } from '../tunnel/choice.ts';
import { Deadline } from '../tunnel/deadline.ts';
import { awaitFirstByte } from '../tunnel/first-byte.ts';
import { openTunnel, type TunnelOptions } from '../tunnel/open.ts';
import { payloadMemory } from '../tunnel/payload-memory.ts';
import { relay } from '../tunnel/relay.ts';
import type { Transport } from '../tunnel/transport.ts';
import { callerSurroundings } from './caller-surroundings.ts';
import { openLog } from './log-file.ts';
import { mfaCodeAtTerminal } from './mfa-code.ts';
import { ownPaths } from './own-paths.ts';
import type { ProxyArguments } from './proxy-arguments.ts';
import type { VerbContext } from './run.ts';
import type { Terminal } from './terminal.ts';

export async function proxyDirectly(
  { operands, flags }: ProxyArguments,
  { terminal, env, signal }: VerbContext,
): Promise<void> {
  collectAtEnd();
  const parentPid = process.ppid;
  const paths = ownPaths(env);
  const call = readCall(operands, { flags, env, file: paths.configFile });
  const { host, port, settings } = call;
  const log = openLog(settings);
  const clock = systemClock;
  log('info', 'proxy-start', { host: host.name, port });

  const ledger = new SessionLedger(paths.stateDir);
  tellOfKilled(ledger, (where, error) => recordFailure(paths.stateDir, where, error));
  const hangUp = new AbortController();
  const stopped = AbortSignal.any([signal, hangUp.signal]);
  const early = new EarlyInput(process.stdin, () => {
    hangUp.abort(new KeyholeError('interrupted', 'stdin was closed before the tunnel was open'));
  });
  try {
    const { payloadMemoryFile, knownHostsFile } = paths;
    const memory = payloadMemory(payloadMemoryFile, clock.wallTime);
    const options = { payloadMemory: memory, clock, log, signal: stopped, knownHostsFile, ledger };
    const transport = await open(call, options, terminal);
    terminal.silence();
    log('info', 'tunnel-open', { host: host.name, port });
    const isOrphan = () => process.ppid !== parentPid;
    transport.on('error', () => {}); // for the turn without the relay, which says it
    const stdin = early.release();
    await new Promise(setImmediate); // process.stdin stops reading only after its pause, whoever wants it to read by then
    await relay({ stdin, stdout: process.stdout, transport, clock, signal: stopped, isOrphan });
    const { interrupted: _, ...stats } = transport.stats();
    log('info', 'tunnel-closed', { host: host.name, port, ...stats });
  } catch (error) {
    log('error', 'proxy-failed', { host: host.name, port, ...describe(error) });
    throw error;
  } finally {
    ledger.close();
  }
}

interface OpenOptions
  extends Pick<TunnelOptions, 'payloadMemory' | 'clock' | 'log' | 'signal'>,
    Pick<Paths, 'knownHostsFile'> {
  /** Of what others like this one left when they were killed, too. */
  ledger: SessionLedger;
}

/** Opens the tunnel within the deadline, which covers everything from AWS's credentials to the target's first byte. */
async function open(call: Call, options: OpenOptions, terminal: Terminal): Promise<Transport> {
  const { host, port, settings } = call;
  const { clock, log, ledger } = options;
  const left = new LeftSessions(ledger, log);
  const deadline = new Deadline(clock, host.name, settings.deadlineMs);
  try {
    let isPersonAsked = false;
    const mfaCode = mfaCodeAtTerminal(() => {
      isPersonAsked = true;
      deadline.restart(personTimeoutMs);
    });
    const caller = callerSurroundings(process.env);
    const id = surroundingsKey(caller, { profile: host.profile, region: host.region });
    const aws = await openAws({ id, profile: host.profile, region: host.region, mfaCode, clock, log });
    void left.endOf(aws);
    if (isPersonAsked) deadline.restart(settings.deadlineMs);
    const signal = AbortSignal.any([options.signal, deadline.signal]);
    const target = await new InstanceNames(clock).idOf(call, aws, signal);
    const notes = notesFor(ledger, { caller, aws, host, target });
    const choice = new TunnelChoice<Route>(clock, log);
    const networkWatch = new NetworkWatch(clock);
    return await openOnArrival({
      target,
      aws,
      settings,
      clock,
      log,
      signal,
      open: async () => {
        const hostKnown = learnHostKeys(call, { ...options, target, aws, signal });
        const transport = await openTunnel({
          ...options,
          settings,
          target,
          port,
          aws,
          notes,
          choice,
          networkWatch,
          signal,
        });
        const timeoutMs = settings.firstByteTimeoutMs;
        await awaitFirstByte(transport, { host: host.name, port, timeoutMs, clock, signal });
        await hostKnown;
        return transport;
      },
      onStart: (text, withinMs) => {
        deadline.restart(withinMs + settings.deadlineMs);
        terminal.say(text);
      },
    });
  } finally {
    deadline.cancel();
  }
}

/** ssh reads known_hosts when the host has spoken. Never rejects: without, ssh does as it is told for unknown hosts. */
async function learnHostKeys(
  { host, namedPort, user, settings: { hostKeys: source } }: Call,
  { target, aws, clock, log, signal, knownHostsFile }: OpenOptions & Pick<TunnelOptions, 'target' | 'aws'>,
): Promise<void> {
  if (source === 'off' || user === undefined) return;
  try {
    const request = { host: host.name, port: namedPort, target, source, aws };
    await new HostKeys(clock, log, knownHostsFile).learn(request, signal);
  } catch (error) {
    log('error', 'host keys not learned', describe(error));
  }
}

function describe(error: unknown): { code: string; message: string } {
  if (error instanceof KeyholeError) return { code: error.code, message: error.message };
  return { code: 'internal', message: String(error instanceof Error ? error.stack : error) };
}
