// Runs this program again: as a daemon, or as a short-lived child that answers a question in somebody's surroundings.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { KeyholeError, ReportedError } from './errors.ts';

/** The command that runs this program, with the same Node and the same bundle. */
export function ownCommand(args: string[]): [string, string[]] {
  return [process.execPath, [...process.execArgv, process.argv[1]!, ...args]];
}

/**
 * For a daemon's environment, mallopt(3). M_ARENA_MAX: glibc gives each of Node's threads an arena of its own, and what is freed in one the others don't use.
 * The thresholds: glibc raises its own with what V8's compilers ask for, and then keeps what they give back; fixed where they are
 * at first, a daemon is 5 MB smaller after 1,000 connections, and its heap has grown by 1 instead of 4 MB since the 200th.
 */
export const daemonAllocation = {
  MALLOC_ARENA_MAX: '1',
  MALLOC_TRIM_THRESHOLD_: '131072',
  MALLOC_MMAP_THRESHOLD_: '131072',
};

export interface Surroundings {
  env: NodeJS.ProcessEnv;
  /** One that is gone by now stands for the root: the settings need not depend on it. */
  cwd: string;
}

const maxAnswerBytes = 256 * 1024;
/** A child, or a profile's own program, may wait for a person; not for ever. */
export const personTimeoutMs = 120_000;
/** The line that a child prints before its answer when it asks a person. */
export const asksPerson = '{"asks":"person"}';

/**
 * Runs this program in the given surroundings and reads the JSON object that it prints. `{"error": …}` in it is thrown as the
 * error it tells of. The child has no stdin (that may be ssh's), and what it says on stderr goes nowhere (that is ssh's too).
 * @param onAsksPerson called when it says that a person is being asked, at the terminal
 * @throws KeyholeError `child-failed`, or what the child reported, or the signal's reason
 */
export async function askOwnProcess(
  args: string[],
  { env, cwd }: Surroundings,
  signal?: AbortSignal,
  onAsksPerson: () => void = () => {},
): Promise<Record<string, unknown>> {
  signal?.throwIfAborted();
  const [command, commandArgs] = ownCommand(args);
  const child = spawn(command, commandArgs, {
    env,
    cwd: existsSync(cwd) ? cwd : '/',
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: personTimeoutMs,
    // It has nothing to tidy up, and whoever gives up waiting is in a hurry.
    killSignal: 'SIGKILL',
  });
  const kill = () => child.kill('SIGKILL');
  signal?.addEventListener('abort', kill, { once: true });
  try {
    const chunks: Buffer[] = [];
    let bytes = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      if (bytes === 0 && chunk.toString('latin1').startsWith(`${asksPerson}\n`)) onAsksPerson();
      bytes += chunk.length;
      if (bytes <= maxAnswerBytes) chunks.push(chunk);
      else kill();
    });
    await new Promise<void>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', () => resolve());
    }).catch((cause) => {
      throw childFailed(cause);
    });
    signal?.throwIfAborted();
    return parseAnswer(Buffer.concat(chunks).toString('utf8'));
  } finally {
    signal?.removeEventListener('abort', kill);
  }
}

/** What was answered stays out of errors: it holds secrets, and JSON's own errors quote it. */
function parseAnswer(text: string): Record<string, unknown> {
  let answer: unknown;
  try {
    answer = JSON.parse(text.startsWith(asksPerson) ? text.slice(asksPerson.length) : text);
  } catch {
    throw childFailed();
  }
  if (typeof answer !== 'object' || answer === null) throw childFailed();
  const { error } = answer as { error?: { code?: unknown; message?: unknown; hint?: unknown; exitStatus?: unknown } };
  if (typeof error?.code !== 'string' || typeof error.message !== 'string') return answer as Record<string, unknown>;
  throw new ReportedError({
    code: error.code,
    message: error.message,
    ...(typeof error.hint === 'string' && { hint: error.hint }),
    exitStatus: error.exitStatus === 2 ? 2 : 1,
  });
}

function childFailed(cause?: unknown): KeyholeError {
  return new KeyholeError('child-failed', 'a process of keyhole that looks up AWS settings failed', {
    hint: '`keyhole resolve-aws` shows how',
    cause,
  });
}
