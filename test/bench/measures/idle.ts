// A daemon's memory with 100 idle tunnels, and what each of them adds.
import { setTimeout as delay } from 'node:timers/promises';
import type { Measure } from '../measure.ts';
import { processesOfHome, residentMegabytes } from '../processes.ts';
import { openSsh, type SshSession } from '../ssh.ts';
import { makeWarmSubject, type Subject } from '../subject.ts';

const tunnels = 100;
const atOnce = 10;
const settleMs = 3_000;

export const idle: Measure = {
  name: 'idle',
  about: 'daemon memory with 100 idle tunnels',
  async run({ subjectOptions, isWanted, say }) {
    const subject = makeWarmSubject(subjectOptions);
    if (!isWanted(subject)) return [];
    try {
      // What the first connections load and compile is not a tunnel's.
      await close(await open(subject, atOnce));
      await delay(settleMs);
      const [daemon] = subject.sharedProcesses();
      const before = residentMegabytes(daemon!);
      const sessions: SshSession[] = [];
      while (sessions.length < tunnels) sessions.push(...(await open(subject, atOnce)));
      await delay(settleMs);
      const full = residentMegabytes(daemon!);
      const others = processesOfHome(subject.env().HOME!).length - 1 - sessions.length;
      await close(sessions);
      await delay(settleMs);
      const after = residentMegabytes(daemon!);
      const one = (name: string, title: string, unit: string, value: number) =>
        ({ name, title, unit, better: 'lower', series: { warm: [value] } }) as const;
      return [
        one('idle.before', 'daemon, no tunnels (after the first ten)', 'MB', before),
        one('idle.full', `daemon, ${tunnels} idle tunnels`, 'MB', full),
        one('idle.each', 'of each idle tunnel', 'MB', (full - before) / tunnels),
        one('idle.after', 'daemon, all closed again', 'MB', after),
        one('idle.processes', `processes besides daemon and ssh, ${tunnels} tunnels`, '', others),
      ];
    } catch (error) {
      say(`failed: ${(error as Error).message}`);
      return [];
    } finally {
      await subject.clean();
    }
  },
};

async function open(subject: Subject, count: number): Promise<SshSession[]> {
  const sessions = Array.from({ length: count }, () => openSsh(subject, ['printf r; cat']));
  await Promise.all(sessions.map((session) => session.receive(1)));
  return sessions;
}

async function close(sessions: SshSession[]): Promise<void> {
  await Promise.all(sessions.map((session) => session.close()));
}
