// Where the time of a warm connection goes. The daemon's log says when it did what, to the millisecond; what the region and its
// sshd take for their part of it stands beside.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { interleave, type Measure } from '../measure.ts';
import { openToBanner } from '../proxy-command.ts';
import type { Series } from '../statistics.ts';
import { milliseconds, resultOf, toBanner, warmUp } from './connect.ts';

/** In the order of time; each from the one before, the first from exec, to a line of the log, the last to the banner. */
const steps = [
  { name: 'asked', title: 'of it, until the daemon is asked (launcher, helper)', until: 'tunnel wanted' },
  { name: 'session', title: 'of it, StartSession', until: 'session started' },
  { name: 'channel', title: 'of it, websocket and handshake', until: 'channel open' },
  { name: 'open', title: 'of it, the target’s first bytes, handing over', until: 'tunnel open' },
  { name: 'banner', title: 'of it, until the banner is read', until: undefined },
] as const;

export const breakdown: Measure = {
  name: 'breakdown',
  about: 'where the time of a warm connection goes',
  quick: true,
  async run(surroundings) {
    const { subjects, stand, network, runs, isQuick, say } = surroundings;
    const [direct, warm] = ['direct', 'warm'].map((name) => subjects.find((subject) => subject.name === name));
    if (warm === undefined || direct === undefined) return [];
    await warmUp(surroundings, [warm], network);
    const log = join(warm.env().HOME!, '.local/state/keyhole/daemon.log');
    const run = await interleave(
      [warm, direct],
      isQuick ? 5 : runs,
      async (subject): Promise<Record<string, number>> => {
        if (subject === direct) return { target: (await toBanner(surroundings, direct, network)).banner! };
        const start = now();
        const opened = await openToBanner(warm, stand, network);
        const times = [start, ...loggedSince(log, start), now()];
        await opened.close();
        const session = await network.startSessionMs();
        return Object.fromEntries([
          ...steps.map(({ name }, at) => [name, times[at + 1]! - times[at]!]),
          ...(session === undefined ? [] : [['region', session]]),
        ]);
      },
      say,
    );
    const own: Record<string, Series> = {
      session: run.series('region').warm ?? [],
      open: run.series('target').direct ?? [],
    };
    return steps.map(({ name, title }) => {
      const { series, failures } = resultOf(run, name);
      const region = own[name];
      return {
        ...milliseconds(`breakdown.${name}`, title),
        series: { warm: series.warm ?? [], ...(region && { 'region’s own': region }) },
        ...(failures && { failures }),
      };
    });
  },
};

/** Wall time, ms. */
function now(): number {
  return performance.timeOrigin + performance.now();
}

/** When the daemon came to each step of the connection that began at `start`. */
function loggedSince(log: string, start: number): number[] {
  const lines = readFileSync(log, 'utf8')
    .split('\n')
    .map((line) => ({ line, at: Date.parse(line.split(' ', 2)[1] ?? '') }))
    .filter(({ at }) => at >= Math.floor(start));
  return steps.flatMap(({ until }) => {
    if (until === undefined) return [];
    const found = lines.find(({ line }) => line.includes(` ${until} `));
    if (found === undefined) throw new Error(`the daemon's log does not say “${until}”`);
    return [found.at + 0.5]; // the log cuts it off
  });
}
