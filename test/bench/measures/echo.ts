// One byte there and back through ssh and `cat`, with a pause before the next as after a keystroke: the agent sleeps for 1 ms
// after each read (protocol.md section 16, 1), which would be measured otherwise. All sessions are open at once and take turns
// in short blocks; those whose turn it is not are idle.
import { setTimeout as delay } from 'node:timers/promises';
import type { Measure } from '../measure.ts';
import { openSsh, type SshSession } from '../ssh.ts';

const blockBytes = 25;
const warmUpBytes = 20;
const pauseMs = 5;

export const echo: Measure = {
  name: 'echo',
  about: 'one-byte echo, median and 99th percentile',
  quick: true,
  async run({ subjects, runs, isQuick, say }) {
    const sessions = new Map<string, SshSession>();
    const samples: Record<string, number[]> = {};
    try {
      for (const subject of subjects.filter(({ isCold }) => !isCold)) {
        const session = openSsh(subject, ['cat']);
        sessions.set(subject.name, session);
        samples[subject.name] = [];
        for (let at = 0; at < warmUpBytes; at++) await strike(session);
      }
      const names = [...sessions.keys()];
      for (let block = 0; block < (isQuick ? 6 : runs * 2); block++) {
        for (let at = 0; at < names.length; at++) {
          const name = names[(at + block) % names.length]!;
          for (let byte = 0; byte < blockBytes; byte++) {
            await delay(pauseMs);
            samples[name]!.push(await strike(sessions.get(name)!));
          }
        }
      }
    } catch (error) {
      say(`failed: ${(error as Error).message}`);
    } finally {
      await Promise.all([...sessions.values()].map((session) => session.close()));
    }
    const common = { title: 'one-byte echo', unit: 'ms', better: 'lower', series: samples } as const;
    return [
      { ...common, name: 'echo.median' },
      { ...common, name: 'echo.p99', title: 'one-byte echo, 99th percentile', statistic: 'p99' },
    ];
  },
};

const key = Uint8Array.of(0x61);

/** Milliseconds until the echo is here. */
export async function strike(session: SshSession, timeoutMs?: number): Promise<number> {
  const startedAt = performance.now();
  session.write(key);
  await session.receive(1, timeoutMs);
  return performance.now() - startedAt;
}
