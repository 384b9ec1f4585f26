// Whether a process still lives. That is not whether its id is taken: ids are given again, and a process that ended keeps
// its own until its parent has asked for it, which in a container without an init is never.
import { readFileSync } from 'node:fs';

/** @param start from `processStart`; without it any process with this id counts */
export function isProcessAlive(pid: number, start?: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // Not permitted: it is there, and somebody else's.
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const status = readStatus(pid);
  if (status === undefined) return true;
  return !/^[ZX]$/.test(status.state) && (start === undefined || status.start === start);
}

/** When a process began, in ticks since boot, by which it is told from a later one; undefined where that can't be read. */
export function processStart(pid: number): number | undefined {
  return readStatus(pid)?.start;
}

/** proc_pid_stat(5), fields 3 and 22. Linux. */
function readStatus(pid: number): { state: string; start: number } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is a name in parentheses, with whatever characters.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0]!, start: Number(fields[19]) };
  } catch {
    return undefined;
  }
}
