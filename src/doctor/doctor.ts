// All checks, in the order of a connection. What comes later is left out where it can't be without what came before.
import type { AwsContext } from '../aws/context.ts';
import { openAws } from '../aws/own-context.ts';
import type { Clock } from '../clock.ts';
import { KeyholeError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Paths } from '../paths.ts';
import { type Call, readCall } from '../target/call.ts';
import { payloadMemory } from '../tunnel/payload-memory.ts';
import { checkAccount } from './account.ts';
import { type Finding, failed } from './finding.ts';
import { askOperands, checkMachine } from './machine.ts';
import { checkNode } from './node.ts';

export interface DoctorOptions {
  env: NodeJS.ProcessEnv;
  /** As ssh would name it; undefined: only this machine and the way to AWS are looked at. */
  host: string | undefined;
  paths: Paths;
  /** `~/.ssh/keyhole`, or why there can be none. */
  sshDir: string | KeyholeError;
  /** Gets the code that a role may want. */
  mfaCode?: (serial: string) => Promise<string>;
  clock: Clock;
  log: Log;
  signal: AbortSignal;
}

export async function* examine(options: DoctorOptions): AsyncGenerator<Finding> {
  const { env, host, paths, sshDir, mfaCode, clock, signal } = options;
  const operands = host === undefined ? undefined : await askOperands(host, env);
  const call = operands && readOrFail(() => readCall(operands, { env, file: paths.configFile }));
  // Of a name that is none of keyhole's, ssh has nothing to say here.
  const isOurs = !(call instanceof KeyholeError && call.code === 'bad-host');
  const names = isOurs ? { host, called: operands?.host } : { host: undefined, called: undefined };
  yield* checkMachine({ env, ...names, sshDir, configFile: paths.configFile, clock, signal });
  if (call instanceof KeyholeError) {
    yield failed('host', call);
    return;
  }
  let aws: AwsContext;
  try {
    const { profile, region } = call?.host ?? {};
    aws = await openAws({ profile, region, ...(mfaCode && { mfaCode }), clock, log: options.log });
  } catch (error) {
    yield failed('credentials', error);
    return;
  }
  try {
    yield* checkAccount(aws);
    if (call === undefined) return;
    const memory = payloadMemory(paths.payloadMemoryFile, clock.wallTime);
    yield* checkNode({ ...options, call, aws, payloadMemory: memory, knownHostsFile: paths.knownHostsFile });
  } finally {
    aws.close();
  }
}

function readOrFail(read: () => Call): Call | KeyholeError {
  try {
    return read();
  } catch (error) {
    if (error instanceof KeyholeError) return error;
    throw error;
  }
}
