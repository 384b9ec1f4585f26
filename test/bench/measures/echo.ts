// One byte there and back through ssh and `cat`, with a pause before the next as after a keystroke: the agent sleeps for 1 ms
// after each read (protocol.md section 16, 1), which would be measured otherwise. All sessions are open at once and take turns
// in short blocks; those whose turn it is not are idle.
//
// Twice: with all on any processor, and with the region and sshd on one of their own, as a node has it. In the former the kernel puts
// them all on one, since each wakes the next, and what the region does besides the echo (its acknowledgement, which nobody waits
// for) counts as the client's time; in the latter each byte wakes the other processor twice, which a virtual machine may take long for.
//
// The first bytes of each session are told apart: they meet a daemon that has echoed little yet, whose code V8 compiles while they
// are under way (a fifth of a millisecond in the median of the first 100 here, nothing after some 600). It is a minute's typing,
// once for a daemon, which lives for days.
import { setTimeout as delay } from 'node:timers/promises';
import type { Measure, Result, Surroundings } from '../measure.ts';
import { descendants } from '../processes.ts';
import { moveTo, ownProcessors } from '../processors.ts';
import { openSsh, type SshSession } from '../ssh.ts';
import type { Subject } from '../subject.ts';

const blockBytes = 25;
const warmUpBytes = 20;
/** Blocks of each session that are its first bytes: 400 of them. */
const firstBlocks = 16;
const pauseMs = 5;

export const echo: Measure = {
  name: 'echo',
  about: 'one-byte echo, median and 99th percentile, with the node on a processor of its own and without',
  quick: true,
  async run(surroundings) {
    const { isQuick, runs } = surroundings;
    const steady = surroundings.subjects.filter(({ isCold }) => !isCold);
    const strikeAs = (before: number, blocks: number) => strikeAll(surroundings, steady, before, blocks);
    const together = isQuick ? await strikeAs(0, 3) : await strikeAs(firstBlocks, runs * 8);
    const apart = await onItsOwn(surroundings, steady, () => strikeAs(0, isQuick ? 3 : runs * 4));
    return [
      ...results('echo', 'one-byte echo', together.samples),
      ...(isQuick ? [] : results('echo.first', 'one-byte echo, the first 400', together.first)),
      ...(apart ? results('echo.apart', 'one-byte echo, the node on a processor of its own', apart.samples) : []),
    ];
  },
};

type Samples = Record<string, number[]>;

/** Blocks of all sessions in turns: `before` of each come before those that count. */
async function strikeAll(
  { say }: Surroundings,
  subjects: Subject[],
  before: number,
  blocks: number,
): Promise<{ first: Samples; samples: Samples }> {
  const sessions = new Map<string, SshSession>();
  const first: Samples = {};
  const samples: Samples = {};
  try {
    for (const subject of subjects) {
      const session = openSsh(subject, ['cat']);
      sessions.set(subject.name, session);
      first[subject.name] = [];
      samples[subject.name] = [];
      for (let at = 0; at < warmUpBytes; at++) await strike(session);
    }
    const names = [...sessions.keys()];
    for (let block = 0; block < before + blocks; block++) {
      const kept = block < before ? first : samples;
      for (let at = 0; at < names.length; at++) {
        const name = names[(at + block) % names.length]!;
        for (let byte = 0; byte < blockBytes; byte++) {
          await delay(pauseMs);
          kept[name]!.push(await strike(sessions.get(name)!));
        }
      }
    }
  } catch (error) {
    say(`failed: ${(error as Error).message}`);
  } finally {
    await Promise.all([...sessions.values()].map((session) => session.close()));
  }
  return { first, samples };
}

function results(name: string, title: string, series: Record<string, number[]>): Result[] {
  const common = { unit: 'ms', better: 'lower', series } as const;
  return [
    { ...common, name: `${name}.median`, title },
    { ...common, name: `${name}.p99`, title: `${title}, 99th percentile`, statistic: 'p99' },
  ];
}

/**
 * Does it while the region and sshd, which the benchmark has started before, have the last processor, and all else of the
 * benchmark's the others. @returns nothing where that can't be
 */
async function onItsOwn<T>(
  { stand, say }: Surroundings,
  subjects: Subject[],
  act: () => Promise<T>,
): Promise<T | undefined> {
  const all = ownProcessors();
  if (all.length < 2 || stand.sshd.kind !== 'openssh') {
    say('the node can have no processor of its own: there is one, or no taskset, or no OpenSSH');
    return undefined;
  }
  const far = descendants(process.pid, { detached: true });
  const near = () => [process.pid, ...subjects.flatMap((subject) => subject.sharedProcesses())];
  try {
    moveTo(all.slice(-1), far);
    moveTo(all.slice(0, -1), near());
    return await act();
  } catch (error) {
    say(`failed: ${(error as Error).message}`);
    return undefined;
  } finally {
    moveTo(all, [...far, ...near()]);
  }
}

const key = Uint8Array.of(0x61);

/** Milliseconds until the echo is here. */
export async function strike(session: SshSession, timeoutMs?: number): Promise<number> {
  const startedAt = performance.now();
  session.write(key);
  await session.receive(1, timeoutMs);
  return performance.now() - startedAt;
}
