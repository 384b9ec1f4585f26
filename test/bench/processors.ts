// Which processors processes run on (taskset(1), of util-linux). Linux only.
import { spawnSync } from 'node:child_process';
import { isAlive } from './processes.ts';

/** What this process may run on, as in `[0, 1]`; empty where that can't be known. */
export function ownProcessors(): number[] {
  const { status, stdout } = spawnSync('taskset', ['-c', '-p', String(process.pid)], { encoding: 'utf8' });
  return status === 0 ? parseProcessors(stdout) : [];
}

/** `pid 1234's current affinity list: 0-2,5` */
export function parseProcessors(text: string): number[] {
  const list = /: ([\d,-]+)\s*$/.exec(text)?.[1] ?? '';
  return list.split(',').flatMap((part) => {
    const [first, last = first] = part.split('-').map(Number);
    return part === '' ? [] : Array.from({ length: last! - first! + 1 }, (_, at) => first! + at);
  });
}

/** From now on these, and what they start, run there only. @throws where one that is alive can't be moved */
export function moveTo(processors: readonly number[], pids: readonly number[]): void {
  for (const pid of pids) {
    const { status, stderr } = spawnSync('taskset', ['-a', '-c', '-p', processors.join(), String(pid)], {
      encoding: 'utf8',
    });
    if (status !== 0 && isAlive(pid)) throw new Error(`taskset: ${stderr.trim()}`);
  }
}
