// `keyhole proxy`: what ssh runs. As a rule it asks the daemon and hands ssh the daemon's socket. The tunnel's own code is
// loaded only without a daemon: ssh waits for every millisecond of this.
import { existsSync } from 'node:fs';
import { systemClock } from '../clock.ts';
import { KeyholeError } from '../errors.ts';
import { recordFailure } from '../failure-record.ts';
import { adoptLink, connectDaemon, connectPrivateDaemon } from '../helper/connect.ts';
import { findReceiver, type Receiver } from '../helper/hand-over.ts';
import { type ProxyOptions, proxyByDaemon } from '../helper/proxy.ts';
import { personTimeoutMs } from '../own-process.ts';
import { findPaths } from '../paths.ts';
import { flagName, settings } from '../settings.ts';
import { callerSurroundings } from './caller-surroundings.ts';
import { callersAgent } from './callers-agent.ts';
import { useCompileCache } from './compile-cache.ts';
import { ownPaths, usableSshDir } from './own-paths.ts';
import { type ProxyArguments, parseProxyArguments } from './proxy-arguments.ts';
import type { WantedSettings } from './resolve-arguments.ts';
import { resolveSettings } from './resolve-settings.ts';
import type { VerbContext } from './run.ts';

/** A daemon that can't be used for one of these is no reason to fail: the proxy then does without. */
const fallbackCodes = new Set([
  'daemon-newer',
  'daemon-silent',
  'daemon-start',
  'foreign-home',
  'no-folder',
  'no-home',
  'socket-path',
]);

export async function proxy(args: string[], context: VerbContext): Promise<void> {
  const parsed = parseProxyArguments(args);
  context.terminal.concernsHost(parsed.operands.host);
  // Before anything looks for files, and for the daemon that may be started.
  if (parsed.runtimeDir !== undefined) context.env.KEYHOLE_RUNTIME_DIR = parsed.runtimeDir;
  // Before anything is started, as for every other word that is used wrongly.
  if (parsed.host === undefined) await findWanted(parsed, context.env);
  const record = (error: unknown) => {
    if (!(error instanceof KeyholeError) || error.code === 'interrupted') return;
    recordFailure(ownPaths(context.env).stateDir, parsed.operands, error);
  };
  const receiver = findReceiver(systemClock);
  try {
    if (parsed.daemon && (await proxyByCommonDaemon(parsed, context, receiver, record))) return;
    await proxyAlone(parsed, context, receiver);
  } catch (error) {
    const failure = receiver.gone.aborted ? await whatIsWrong(parsed, context.env, error) : error;
    record(failure);
    throw failure;
  }
}

/** Whoever gives no input is gone before the daemon can say what is wrong with the settings, and may still read it. */
async function whatIsWrong(parsed: ProxyArguments, env: NodeJS.ProcessEnv, error: unknown): Promise<unknown> {
  try {
    await findWanted(parsed, env);
    return error;
  } catch (wrong) {
    return wrong;
  }
}

/** @returns false where there can be no daemon; the reason is recorded then */
async function proxyByCommonDaemon(
  parsed: ProxyArguments,
  context: VerbContext,
  receiver: Receiver,
  record: (error: unknown) => void,
): Promise<boolean> {
  const { env } = context;
  try {
    const sshDir = usableSshDir(env);
    const asked = parsed.controlFd === undefined ? undefined : adoptLink(parsed.controlFd);
    const connect: Connect = (signal, onStart) => connectDaemon({ sshDir, env, clock: systemClock, signal, onStart });
    await askDaemon(parsed, context, receiver, connect, asked);
    return true;
  } catch (error) {
    if (!(error instanceof KeyholeError) || !fallbackCodes.has(error.code)) throw error;
    record(error);
    return false;
  }
}

/** Without the daemon: in this process, or where ssh wants a descriptor, in one of its own for this connection. */
async function proxyAlone(parsed: ProxyArguments, context: VerbContext, receiver: Receiver): Promise<void> {
  const { env } = context;
  if (receiver.handover === 'fd') {
    return await askDaemon(parsed, context, receiver, (signal, onStart) => {
      onStart();
      return connectPrivateDaemon({ env, clock: systemClock, signal });
    });
  }
  receiver.abandon();
  if (!context.isCompiled) useCompileCache(ownPaths(env).compileCacheDir);
  const { proxyDirectly } = await import('./proxy-direct.ts');
  await proxyDirectly(parsed, context);
}

/** Profile and region that are wanted for the host, by the configuration file. @throws as wantedSettings */
async function findWanted(parsed: ProxyArguments, env: NodeJS.ProcessEnv): Promise<WantedSettings> {
  const { wantedSettings } = await import('./wanted-settings.ts');
  return wantedSettings(parsed, env);
}

/** `onStart`: a daemon has just been started. */
type Connect = (signal: AbortSignal, onStart: () => void) => ReturnType<ProxyOptions['connect']>;

interface EarlyAnswer {
  wanted: WantedSettings;
  answer: Promise<Record<string, unknown>>;
  /** Resolves if a person has to be asked. */
  asksPerson: Promise<void>;
}

async function askDaemon(
  parsed: ProxyArguments,
  { env, signal, terminal }: VerbContext,
  receiver: Receiver,
  connect: Connect,
  asked?: ProxyOptions['asked'],
): Promise<void> {
  const { operands, flags, host } = parsed;
  const surroundings = callerSurroundings(env);
  const caller = { ...surroundings, pid: process.pid, parentPid: process.ppid };
  const resolve = (wanted: WantedSettings, stop: AbortSignal, onAsksPerson: () => void) =>
    resolveSettings(wanted, surroundings, stop, onAsksPerson);
  // A daemon that starts knows no settings: they are looked up while it does, once.
  let early: Promise<EarlyAnswer> | undefined;
  const lookUp = async (stop: AbortSignal): Promise<EarlyAnswer> => {
    const { configFile } = findPaths(env);
    const isFileUsed = host === undefined || (configFile !== undefined && existsSync(configFile));
    const wanted = isFileUsed ? await findWanted(parsed, env) : host;
    const asked = Promise.withResolvers<void>();
    const answer = resolve(wanted, stop, asked.resolve);
    answer.catch(() => {}); // told when it is asked for
    return { wanted, answer, asksPerson: asked.promise };
  };
  await proxyByDaemon({
    asked,
    waitedMs: parsed.waited * 1000,
    connect: (stop) =>
      connect(stop, () => {
        early ??= lookUp(stop);
        early.catch(() => {}); // the daemon says what is wrong
      }),
    receiver,
    host: operands.host,
    request: async () => {
      const upstreamAgent = await callersAgent(env, findPaths(env).sshDir, flags[flagName('agentUpstream')]);
      return { ...operands, flags, caller, ...(upstreamAgent !== undefined && { upstreamAgent }) };
    },
    resolveAws: async (wanted, stop, onAsksPerson) => {
      const known = await early?.catch(() => undefined);
      early = undefined;
      const isKnown = known?.wanted.profile === wanted.profile && known?.wanted.region === wanted.region;
      if (known === undefined || !isKnown) return await resolve(wanted, stop, onAsksPerson);
      void known.asksPerson.then(onAsksPerson);
      return await known.answer;
    },
    personTimeoutMs,
    deadlineMs: settings.deadlineMs.read(flags.deadline ?? env.KEYHOLE_DEADLINE) ?? settings.deadlineMs.default,
    clock: systemClock,
    signal,
    onProgress: (text) => terminal.say(text),
    onReady: () => terminal.silence(),
  });
}
