// How long a keystroke waits during an upload as fast as it can over a line of 500 KB/s: what stands between ssh and the line
// must not hold seconds of bytes. In another session of the same connection (ControlMaster, as terminal and scp have it), where
// it stands behind all that ssh itself has written; and in a connection of its own over the same line.
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Measure, Result, Surroundings } from '../measure.ts';
import { openSsh } from '../ssh.ts';
import { makeSubjects, type Subject } from '../subject.ts';
import { strike } from './echo.ts';

const bytesPerSecond = 500_000;
/** Until all queues are full. */
const fillMs = 4_000;
const strikes = 24;
/** Between two keystrokes, of all lengths: ssh writes in bursts, which an even beat would meet at the same point again and again. */
const leastPauseMs = 50;
const furtherPauseMs = 300;
const timeoutMs = 30_000;
const chunk = Buffer.alloc(16 * 1024);

/** Where the keystrokes are: beside the upload in its connection, whose first session has a terminal or not, or in another. */
const places = ['same', 'batch', 'other'] as const;
type Place = (typeof places)[number];
type Waits = Record<Place, number[]>;

const titles: Record<Place, string> = {
  same: 'keystroke during an upload at 500 KB/s, same connection',
  batch: 'the same, where ssh began without a terminal',
  other: 'the same, another connection',
};

export const keystroke: Measure = {
  name: 'keystroke',
  about: 'keystroke delay during a bulk upload on a line of 500 KB/s',
  async run(surroundings) {
    const { stand, subjectOptions, isWanted, say } = surroundings;
    const network = await stand.openNetwork();
    // Direct TCP would have to be slowed by other means, with queues of their own: it says nothing here.
    const subjects = makeSubjects({ ...subjectOptions, network }).filter(
      (subject) => isWanted(subject) && !subject.isCold && subject.proxyCommand !== undefined,
    );
    const waits: Record<string, Waits> = {};
    const rates: Record<string, number[]> = {};
    const failures: Record<string, number> = {};
    for (const subject of subjects) {
      try {
        await network.setFaults({ up: { bytesPerSecond } });
        const terminal = await typeDuringUpload(surroundings, subject, true);
        const batch = await typeDuringUpload(surroundings, subject, false);
        waits[subject.name] = { same: terminal.same, batch: batch.same, other: [...terminal.other, ...batch.other] };
        rates[subject.name] = [terminal.rate, batch.rate];
      } catch (error) {
        failures[subject.name] = 1;
        say(`failed: ${subject.name}: ${(error as Error).message}`);
      } finally {
        await network.setFaults({});
        await subject.clean();
      }
    }
    await network.close();
    const results: Result[] = places.flatMap((place) => {
      const series = Object.fromEntries(Object.entries(waits).map(([name, each]) => [name, each[place]]));
      const common = { title: titles[place], unit: 'ms', better: 'lower', series, failures } as const;
      const name = place === 'same' ? 'keystroke' : `keystroke.${place}`;
      const longest = { ...common, name: `${name}.max`, title: `${titles[place]}, longest`, statistic: 'max' } as const;
      return [{ ...common, name: `${name}.median` }, longest];
    });
    return [
      ...results,
      { name: 'keystroke.rate', title: 'that upload', unit: 'MB/s', better: 'higher', series: rates },
    ];
  },
};

async function typeDuringUpload(
  { stand }: Surroundings,
  subject: Subject,
  hasTerminal: boolean,
): Promise<{ same: number[]; other: number[]; rate: number }> {
  const socket = join(stand.folder, `${subject.name.replace(/\W/g, '')}.mux`);
  const file = join(stand.folder, `${subject.name.replace(/\W/g, '')}.uploaded`);
  // ssh writes less ahead where its first session has a terminal.
  const master = openSsh(subject, ['cat'], ['-M', '-S', socket, ...(hasTerminal ? ['-tt'] : [])]);
  await strike(master);
  const same = openSsh(subject, ['cat'], ['-S', socket]);
  const other = openSsh(subject, ['cat']);
  await Promise.all([strike(same), strike(other)]);
  const bulk = openSsh(subject, [`cat >'${file}'`], ['-S', socket]);
  const stop = new AbortController();
  try {
    void pour(bulk.child.stdin, stop.signal);
    await delay(fillMs);
    const startedAt = performance.now();
    const sizeBefore = statSync(file).size;
    const waits = { same: [] as number[], other: [] as number[] };
    for (let at = 0; at < strikes && performance.now() - startedAt < timeoutMs; at++) {
      waits.same.push(await strike(same, timeoutMs));
      await delay(pauseMs(2 * at));
      waits.other.push(await strike(other, timeoutMs));
      await delay(pauseMs(2 * at + 1));
    }
    const rate = (statSync(file).size - sizeBefore) / 1e6 / ((performance.now() - startedAt) / 1000);
    return { ...waits, rate };
  } finally {
    stop.abort();
    bulk.child.kill();
    same.child.kill();
    await Promise.all([other.close(200), master.close(200)]);
  }
}

/** Multiples of the golden ratio are spread evenly, however many there are. */
function pauseMs(at: number): number {
  return leastPauseMs + furtherPauseMs * ((at * 0.618034) % 1);
}

async function pour(sink: NodeJS.WritableStream, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    if (!sink.write(chunk)) await once(sink, 'drain', { signal }).catch(() => {});
  }
}
