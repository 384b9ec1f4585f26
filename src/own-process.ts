// Runs this program again: as a daemon, or as a short-lived child that answers a question in somebody's surroundings.
import { spawn } from 'node:child_process';
import { KeyholeError, ReportedError } from './errors.ts';

/** The command that runs this program, with the same Node and the same bundle. */
export function ownCommand(args: string[]): [string, string[]] {
  return [process.execPath, [process.argv[1]!, ...args]];
}

export interface Surroundings {
  env: NodeJS.ProcessEnv;
  cwd: string;
}

const maxAnswerBytes = 256 * 1024;

/**
 * Runs this program in the given surroundings and reads the JSON object that it prints. `{"error": …}` in it is thrown as the
 * error it tells of. The child has no stdin (that may be ssh's), and what it says on stderr goes nowhere (that is ssh's too).
 * @throws KeyholeError `child-failed`, or what the child reported, or the signal's reason
 */
export async function askOwnProcess(
  args: string[],
  { env, cwd }: Surroundings,
  signal?: AbortSignal,
): Promise<Record<string, unknown>> {
  signal?.throwIfAborted();
  const [command, commandArgs] = ownCommand(args);
  const child = spawn(command, commandArgs, { env, cwd, stdio: ['ignore', 'pipe', 'ignore'] });
  const kill = () => child.kill();
  signal?.addEventListener('abort', kill, { once: true });
  try {
    const chunks: Buffer[] = [];
    let bytes = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= maxAnswerBytes) chunks.push(chunk);
      else child.kill();
    });
    await new Promise<void>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', () => resolve());
    });
    signal?.throwIfAborted();
    return parseAnswer(Buffer.concat(chunks).toString('utf8'));
  } catch (error) {
    if (error instanceof KeyholeError) throw error;
    throw childFailed(error);
  } finally {
    signal?.removeEventListener('abort', kill);
  }
}

function parseAnswer(text: string): Record<string, unknown> {
  const answer = JSON.parse(text);
  if (typeof answer !== 'object' || answer === null) throw childFailed();
  const { error } = answer;
  if (typeof error?.code !== 'string' || typeof error.message !== 'string') return answer;
  throw new ReportedError({ ...error, exitStatus: error.exitStatus === 2 ? 2 : 1 });
}

function childFailed(cause?: unknown): KeyholeError {
  return new KeyholeError('child-failed', 'a process of keyhole that looks up AWS settings failed', {
    hint: '`keyhole resolve-aws` shows how',
    cause,
  });
}
