// How long a keystroke waits while the same connection uploads as fast as it can over a line of 500 KB/s: what stands between
// ssh and the line must not hold seconds of bytes. Two sessions share one connection (ControlMaster), as terminal and scp do.
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
const pauseMs = 150;
const timeoutMs = 30_000;
const chunk = Buffer.alloc(16 * 1024);

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
    const waits: Record<string, number[]> = {};
    const rates: Record<string, number[]> = {};
    const failures: Record<string, number> = {};
    for (const subject of subjects) {
      try {
        await network.setFaults({ up: { bytesPerSecond } });
        const { wait, rate } = await typeDuringUpload(surroundings, subject);
        waits[subject.name] = wait;
        rates[subject.name] = [rate];
      } catch (error) {
        failures[subject.name] = 1;
        say(`failed: ${subject.name}: ${(error as Error).message}`);
      } finally {
        await network.setFaults({});
        await subject.clean();
      }
    }
    await network.close();
    const title = 'keystroke during an upload at 500 KB/s';
    const common = { title, unit: 'ms', better: 'lower', series: waits, failures } satisfies Partial<Result>;
    return [
      { ...common, name: 'keystroke.median' },
      { ...common, name: 'keystroke.max', title: `${title}, longest`, statistic: 'max' },
      { name: 'keystroke.rate', title: 'that upload', unit: 'MB/s', better: 'higher', series: rates },
    ];
  },
};

async function typeDuringUpload({ stand }: Surroundings, subject: Subject): Promise<{ wait: number[]; rate: number }> {
  const socket = join(stand.folder, `${subject.name.replace(/\W/g, '')}.mux`);
  const file = join(stand.folder, `${subject.name.replace(/\W/g, '')}.uploaded`);
  const master = openSsh(subject, ['cat'], ['-M', '-S', socket]);
  await strike(master);
  const keys = openSsh(subject, ['cat'], ['-S', socket]);
  await strike(keys);
  const bulk = openSsh(subject, [`cat >'${file}'`], ['-S', socket]);
  const stop = new AbortController();
  try {
    void pour(bulk.child.stdin, stop.signal);
    await delay(fillMs);
    const startedAt = performance.now();
    const sizeBefore = statSync(file).size;
    const wait: number[] = [];
    for (let at = 0; at < strikes && performance.now() - startedAt < timeoutMs; at++) {
      wait.push(await strike(keys, timeoutMs));
      await delay(pauseMs);
    }
    const rate = (statSync(file).size - sizeBefore) / 1e6 / ((performance.now() - startedAt) / 1000);
    return { wait, rate };
  } finally {
    stop.abort();
    bulk.child.kill();
    keys.child.kill();
    await master.close(200);
  }
}

async function pour(sink: NodeJS.WritableStream, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    if (!sink.write(chunk)) {
      await new Promise<void>((resolve) => {
        sink.once('drain', resolve);
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    }
  }
}
