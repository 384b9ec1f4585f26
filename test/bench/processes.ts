// What the kernel says about processes: who started whom, processor time, memory (proc(5)). Linux only.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** Of the times in /proc/PID/stat: USER_HZ, which is 100 on every Linux that Node runs on. */
const msPerTick = 10;

interface Stat {
  state: string;
  parent: number;
  session: number;
  cpuMs: number;
  /** Of children that have ended and been waited for, and of theirs. */
  childrenCpuMs: number;
}

/** Undefined where there is no such process any more. */
function readStat(pid: number | 'self'): Stat | undefined {
  const text = read(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  // The name, in parentheses, may contain anything; the third field of proc(5) follows it.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const number = (field: number) => Number(fields[field - 3]);
  return {
    state: fields[0]!,
    parent: number(4),
    session: number(6),
    cpuMs: (number(14) + number(15)) * msPerTick,
    childrenCpuMs: (number(16) + number(17)) * msPerTick,
  };
}

/** Processor time, user and system, of what is still there. */
export function cpuMs(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + (readStat(pid)?.cpuMs ?? 0), 0);
}

/** Processor time of all processes that this one started and that have ended. */
export function endedChildrenCpuMs(): number {
  return readStat('self')!.childrenCpuMs;
}

/** One that has ended and was not waited for yet is not. */
export function isAlive(pid: number): boolean {
  const state = readStat(pid)?.state;
  return state !== undefined && state !== 'Z';
}

/** Whether it left the session of whoever started it, to outlive him. */
export function leadsSession(pid: number): boolean {
  return readStat(pid)?.session === pid;
}

/** All that `pid` started, and what they started; what went its own way, as a daemon does, only where asked for. */
export function descendants(pid: number, { detached = false } = {}): number[] {
  const children = new Map<number, number[]>();
  for (const each of allProcesses()) {
    const { parent, session } = readStat(each) ?? {};
    if (parent !== undefined && (detached || session !== each))
      children.set(parent, [...(children.get(parent) ?? []), each]);
  }
  const found: number[] = [];
  for (let next = children.get(pid) ?? []; next.length > 0; next = next.flatMap((each) => children.get(each) ?? [])) {
    found.push(...next);
  }
  return found;
}

/** Processes of ours that were started with this HOME. */
export function processesOfHome(home: string): number[] {
  return allProcesses().filter((pid) => read(`/proc/${pid}/environ`)?.split('\0').includes(`HOME=${home}`));
}

export function residentMegabytes(pid: number): number {
  return statusMegabytes(pid, 'VmRSS');
}

export function peakMegabytes(pid: number): number {
  return statusMegabytes(pid, 'VmHWM');
}

/** From now on the peak is what comes from now on. */
export function forgetPeak(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, '5');
  } catch {
    // Gone, or a kernel without it: the peak is then that of the whole life.
  }
}

export function openDescriptors(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** Of the last minute; 1 is one processor's worth of work that wants to be done. */
export function machineLoad(): number {
  return Number(readFileSync('/proc/loadavg', 'utf8').split(' ')[0]);
}

function statusMegabytes(pid: number, field: string): number {
  const kilobytes = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(read(`/proc/${pid}/status`) ?? '')?.[1];
  return (Number(kilobytes ?? 0) * 1024) / 1e6;
}

function allProcesses(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined; // gone since, or another's
  }
}

/** Ends what is there of them, by force where asking does not help. */
export async function endProcesses(pids: readonly number[], patienceMs = 4_000): Promise<void> {
  for (const [signal, waitMs] of [
    ['SIGTERM', patienceMs],
    ['SIGKILL', 1_000],
  ] as const) {
    for (const pid of pids.filter(isAlive)) {
      try {
        process.kill(pid, signal);
      } catch {
        // Gone since.
      }
    }
    await waitForEnd(pids, waitMs);
  }
}

/** Those that are still there after the time, or none as soon as all have gone. */
export async function waitForEnd(pids: readonly number[], timeoutMs: number): Promise<number[]> {
  const until = performance.now() + timeoutMs;
  while (pids.some(isAlive) && performance.now() < until) await delay(10);
  return pids.filter(isAlive);
}
