// How long a connection takes: to the server's identification string, driven as ssh drives its ProxyCommand, and to the end
// of `ssh … true` with the real ssh, key exchange and authentication included.
import { setTimeout as delay } from 'node:timers/promises';
import { interleave, type Measure, type Result, type Surroundings } from '../measure.ts';
import { openToBanner } from '../proxy-command.ts';
import { timeSsh } from '../ssh.ts';
import type { Network } from '../stand.ts';
import type { Subject } from '../subject.ts';

/** For the ends of the last connection, so that they don't slow the next. */
const settleMs = 60;

export const connect: Measure = {
  name: 'connect',
  about: 'exec to SSH banner, and to authenticated `true`',
  quick: true,
  async run(surroundings) {
    const { subjects, network, runs, isQuick, say } = surroundings;
    await warmUp(surroundings, subjects, network);
    const rounds = isQuick ? Math.min(runs, 5) : runs;
    const banner = await interleave(subjects, rounds, (subject) => toBanner(surroundings, subject, network), say);
    const end = await interleave(subjects, rounds, toEnd, say);
    return [
      { ...milliseconds('connect.banner', 'exec to SSH banner'), ...resultOf(banner, 'banner') },
      { ...milliseconds('connect.true', '`ssh … true`'), ...resultOf(end, 'true') },
    ];
  },
};

/** Daemons are started and files are read once before anything is measured. */
export async function warmUp({ stand, say }: Surroundings, subjects: Subject[], network: Network): Promise<void> {
  for (const subject of subjects.filter(({ isCold }) => !isCold)) {
    for (let time = 0; time < 2; time++) {
      await openToBanner(subject, stand, network)
        .then((opened) => opened.close())
        .catch((error: Error) => say(`warming up: ${error.message}`));
    }
  }
}

export async function toBanner(
  { stand }: Surroundings,
  subject: Subject,
  network: Network,
): Promise<Record<string, number>> {
  subject.prepare();
  try {
    const opened = await openToBanner(subject, stand, network);
    await opened.close();
    return { banner: opened.bannerMs };
  } finally {
    if (subject.isCold) await subject.clean();
    await delay(settleMs);
  }
}

async function toEnd(subject: Subject): Promise<Record<string, number>> {
  subject.prepare();
  try {
    return { true: await timeSsh(subject, 'true') };
  } finally {
    if (subject.isCold) await subject.clean();
    await delay(settleMs);
  }
}

export function milliseconds(name: string, title: string): Pick<Result, 'name' | 'title' | 'unit' | 'better'> {
  return { name, title, unit: 'ms', better: 'lower' };
}

export function resultOf(
  run: Awaited<ReturnType<typeof interleave>>,
  key: string,
): Pick<Result, 'series' | 'failures'> {
  return { series: run.series(key), failures: run.failures };
}
