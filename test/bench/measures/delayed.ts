// The same way to the banner where AWS is far: every TCP leg, to the APIs, the gateway and sshd, takes 40 or 500 ms there and
// back, with and without TLS. With 500 ms a process's own time hardly counts, so that the round trips show.
import { type FarLink, longestChain, type Turn } from '../far-link.ts';
import { interleave, type Measure, type Result, type Surroundings } from '../measure.ts';
import { makeSubjects } from '../subject.ts';
import { resultOf, toBanner, warmUp } from './connect.ts';

const roundTripsMs = [40, 500];

export const delayed: Measure = {
  name: 'delayed',
  about: 'exec to SSH banner with 40 and 500 ms on every leg, and the round trips',
  async run(surroundings) {
    const results: Result[] = [];
    for (const tls of [false, true]) results.push(...(await overNetwork(surroundings, tls)));
    return results;
  },
};

async function overNetwork(surroundings: Surroundings, tls: boolean): Promise<Result[]> {
  const { stand, subjectOptions, isWanted, runs, say } = surroundings;
  const network = await stand.openNetwork({ tls, far: true });
  const subjects = makeSubjects({ ...subjectOptions, network }).filter(isWanted);
  const results: Result[] = [];
  try {
    await warmUp(surroundings, subjects, network);
    for (const ms of roundTripsMs) {
      const rounds = Math.max(2, Math.min(runs, ms > 100 ? 3 : 5));
      const run = await interleave(
        subjects,
        rounds,
        async (subject) => {
          // What stays warm was used a moment ago; how long servers keep idle connections is not the client's.
          setRoundTrip(network.links, 0);
          if (!subject.isCold) await toBanner(surroundings, subject, network);
          setRoundTrip(network.links, ms);
          takeTurns(network.links);
          const startedAt = performance.now();
          const { banner } = await toBanner(surroundings, subject, network);
          const endedBy = startedAt + banner! + timerErrorMs;
          // Some are of the end of the connection before, or of this one's.
          const turns = takeTurns(network.links).filter(
            (turn) => turn.startedAt > startedAt && turn.endedAt <= endedBy,
          );
          return { banner: banner!, chain: longestChain(turns), turns: turns.length };
        },
        say,
      );
      const where = `${ms} ms per round trip${tls ? ', TLS' : ''}`;
      const name = `delayed.${tls ? 'tls' : 'plain'}.${ms}`;
      const lower = { better: 'lower' } as const;
      results.push(
        { ...lower, name, title: `exec to SSH banner, ${where}`, unit: 'ms', ...resultOf(run, 'banner') },
        {
          ...lower,
          name: `${name}.trips`,
          title: `round trips one after another, ${where}`,
          unit: '',
          series: run.series('chain'),
        },
        {
          ...lower,
          name: `${name}.turns`,
          title: `round trips in all, ${where}`,
          unit: '',
          series: run.series('turns'),
        },
      );
    }
  } finally {
    setRoundTrip(network.links, 0);
    for (const subject of subjects) await subject.clean();
    await network.close();
  }
  return results;
}

const timerErrorMs = 5;

function setRoundTrip(links: readonly FarLink[], ms: number): void {
  for (const link of links) link.roundTripMs = ms;
}

function takeTurns(links: readonly FarLink[]): Turn[] {
  return links.flatMap((link) => link.takeTurns());
}
