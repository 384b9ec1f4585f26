// Waits for a target that cannot be reached yet: its agent is not connected, its instance boots, or has to be started first.
// Only what time may change is waited for, and only within a bound that the caller's ssh stands. Nothing is asked before
// the first attempt has failed: a target that is there pays nothing.
import type { AwsContext } from '../aws/context.ts';
import type { Instance } from '../aws/ec2.ts';
import { type Clock, sleep } from '../clock.ts';
import { assertRunning } from '../eice/endpoint.ts';
import { KeyholeError, TransportError } from '../errors.ts';
import type { Log } from '../log.ts';
import { type Settings, showDuration } from '../settings.ts';
import { within } from '../within.ts';
import type { Transport } from './transport.ts';

export interface ArrivalOptions<T extends Transport = Transport> {
  /** `i-…` or `mi-…`. */
  target: string;
  aws: Pick<AwsContext, 'ssm' | 'ec2' | 'awsTime'>;
  settings: Pick<Settings, 'transport' | 'waitMs' | 'start' | 'startTimeoutMs'>;
  clock: Clock;
  log: Log;
  signal: AbortSignal;
  /** One attempt, up to the target's first byte. It leaves nothing behind when it fails. */
  open(): Promise<T>;
  /** An instance is being started, for which `withinMs` from now are allowed. */
  onStart(text: string, withinMs: number): void;
}

interface Wait {
  boundMs: number;
  /** On the clock. */
  until: number;
  /** Errors that may pass. */
  codes: string[];
}

/** Systems Manager does not know the target yet, or EC2 says that it starts. */
const awayCodes = ['target-not-connected', 'instance-pending'];
/** What an instance says besides that is on its way up, before its sshd listens. */
const bootingCodes = ['instance-stopped', 'eice-target', 'port-closed', 'no-answer'];
/** GetConnectionStatus is cheap: it has a quota of its own. */
const pollMs = 1_000;
/** Attempts are not: each may be a StartSession, of which an account has three a second. Nor is DescribeInstances. */
const retryMs = 2_000;

/** @throws what the last attempt threw, told to have been waited for; what starting the instance threw; the signal's reason */
export async function openOnArrival<T extends Transport>(options: ArrivalOptions<T>): Promise<T> {
  let wait: Wait | undefined;
  for (;;) {
    try {
      return await options.open();
    } catch (error) {
      if (options.signal.aborted || !(error instanceof KeyholeError)) throw error;
      wait ??= await begin(options, error);
      if (!wait.codes.includes(error.code)) throw error;
      await pause(options, error, wait);
    }
  }
}

/** Finds out what there is to wait for, and starts the instance where that is wanted. @throws `error`, where there is nothing */
async function begin(options: ArrivalOptions, error: KeyholeError): Promise<Wait> {
  const { target, aws, settings, clock, log } = options;
  const { waitMs, start, startTimeoutMs } = settings;
  const codes = start ? [...awayCodes, ...bootingCodes] : [...awayCodes, 'instance-stopped', 'eice-target'];
  if (!codes.includes(error.code) || (waitMs === 0 && !start)) throw error;
  const instance = await describe(options, error);
  const mayRun = instance === undefined || instance.state === 'pending' || (start && isDown(instance));
  if (!mayRun) assertRunning(instance);
  const isStarting =
    start && instance !== undefined && (isDown(instance) || ageOf(instance, aws.awsTime()) < startTimeoutMs);
  const boundMs = isStarting ? startTimeoutMs : waitMs;
  const wait = { boundMs, until: clock.now() + boundMs, codes: [...awayCodes] };
  if (isStarting || instance?.state === 'pending') wait.codes.push(...bootingCodes);
  // The endpoint says nothing of why; that Systems Manager does not know the instance either tells that it may be coming.
  else if (error.code === 'eice-target' && (await connectionStatus(options)) === 'notconnected')
    wait.codes.push(error.code);
  if (!wait.codes.includes(error.code)) throw error;
  log('info', 'waiting for the target', { target, code: error.code, state: instance?.state, ms: boundMs });
  if (isStarting) await startInstance(options, instance, wait);
  return wait;
}

function isDown({ state }: Instance): boolean {
  return state === 'stopped' || state === 'stopping';
}

/** Resolves when another attempt may do better. @throws `error` when the wait is over; the signal's reason */
async function pause(options: ArrivalOptions, error: KeyholeError, wait: Wait): Promise<void> {
  const { clock, settings } = options;
  const retryAt = clock.now() + retryMs;
  for (;;) {
    await tick(options, pollMs, wait, () => alsoAfter(error, wait.boundMs));
    const status = settings.transport === 'eice' ? undefined : await connectionStatus(options);
    if (status === 'connected') return;
    // By the endpoint it may be reached sooner; and where the status is not told, StartSession tells.
    if ((status === undefined || error.code !== 'target-not-connected') && clock.now() >= retryAt) return;
  }
}

async function startInstance(options: ArrivalOptions, instance: Instance, wait: Wait): Promise<void> {
  const { target, aws, signal, clock, log, onStart } = options;
  const late = (now: string) => () =>
    new TransportError('instance-pending', `${target} is still ${now} after ${showDuration(wait.boundMs)}`, {
      hint: 'the setting start_timeout allows more',
    });
  const until = async (from: string[]): Promise<string> => {
    for (;;) {
      const instance = await within(signal, aws.ec2.describeInstance(target));
      if (!from.includes(instance.state)) return instance.state;
      await tick(options, retryMs, wait, late(instance.state));
    }
  };
  if (isDown(instance)) {
    onStart(`${target} is ${instance.state}; starting it`, wait.boundMs);
    await until(['stopping']);
    await within(signal, aws.ec2.startInstance(target));
    log('info', 'instance started', { target });
  }
  // `stopped` is what EC2 may go on saying for a moment.
  const now = await until(['stopped', 'pending']);
  if (now !== 'running') {
    throw new TransportError('instance-stopped', `${target} was started, and is ${now} again`, {
      hint: `aws ec2 describe-instances --instance-ids ${target} has the reason (StateReason)`,
    });
  }
  onStart(`${target} is running; waiting until it can be reached`, wait.until - clock.now());
}

async function tick(
  { clock, signal }: ArrivalOptions,
  ms: number,
  { until }: Wait,
  late: () => KeyholeError,
): Promise<void> {
  const leftMs = until - clock.now();
  if (leftMs <= 0) throw late();
  await sleep(clock, Math.min(ms, leftMs), signal);
  signal.throwIfAborted();
}

/** Undefined where EC2 does not say, and need not. @throws `error` for an instance that does not exist; AwsError */
async function describe(
  { target, aws, signal, settings }: ArrivalOptions,
  error: KeyholeError,
): Promise<Instance | undefined> {
  if (!target.startsWith('i-')) return undefined;
  try {
    return await within(signal, aws.ec2.describeInstance(target));
  } catch (reason) {
    signal.throwIfAborted();
    if (reason instanceof KeyholeError && reason.code === 'instance-unknown') throw error;
    if (settings.start) throw reason; // what is wanted cannot be done
    return undefined;
  }
}

/** Undefined where SSM does not say. */
async function connectionStatus({ target, aws, signal }: ArrivalOptions) {
  return await aws.ssm.getConnectionStatus(target, signal).catch(() => undefined);
}

/** Since its last start, in ms. */
function ageOf({ launchedAt }: Instance, now: number): number {
  return launchedAt === undefined ? Number.POSITIVE_INFINITY : now - launchedAt;
}

function alsoAfter(error: KeyholeError, ms: number): KeyholeError {
  return new TransportError(error.code, `${error.message}, also after ${showDuration(ms)}`, {
    ...(error.hint !== undefined && { hint: error.hint }),
    cause: error,
  });
}
