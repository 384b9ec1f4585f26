// Processor time of the helper that ssh waits for, against a Node that does nothing: both are started in turn, in batches,
// since the kernel tells the time of ended children in steps of 10 ms.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { interleave, type Measure } from '../measure.ts';
import { endedChildrenCpuMs } from '../processes.ts';
import { openToBanner } from '../proxy-command.ts';
import { warmUp } from './connect.ts';

const batch = 5;

export const helperCpu: Measure = {
  name: 'helper',
  about: "the helper's CPU against a bare `node -e 0`",
  quick: true,
  async run(surroundings) {
    const { subjects, stand, network, runs, isQuick, say } = surroundings;
    const warm = subjects.find(({ name }) => name === 'warm');
    if (warm === undefined) return [];
    await warmUp(surroundings, [warm], network);
    const once: Record<string, () => Promise<void>> = {
      'node -e 0': startNode,
      warm: async () => {
        const opened = await openToBanner(warm, stand, network);
        await opened.close();
      },
    };
    const run = await interleave(
      Object.keys(once).map((name) => ({ name })),
      isQuick ? 4 : runs,
      async ({ name }) => {
        const before = endedChildrenCpuMs();
        let elapsed = 0;
        for (let at = 0; at < batch; at++) {
          const startedAt = performance.now();
          await once[name]!();
          elapsed += performance.now() - startedAt;
          await delay(20);
        }
        return { cpu: (endedChildrenCpuMs() - before) / batch, elapsed: elapsed / batch };
      },
      say,
    );
    const common = { unit: 'ms', better: 'lower' } as const;
    return [
      { ...common, name: 'helper.cpu', title: 'CPU of one start: helper', series: run.series('cpu') },
      { ...common, name: 'helper.elapsed', title: 'the same, elapsed', series: run.series('elapsed') },
    ];
  },
};

/** The same Node as keyhole's, without the variables that another one would not have. */
async function startNode(): Promise<void> {
  const { PATH = '', HOME = '' } = process.env;
  await once(spawn(process.execPath, ['-e', '0'], { env: { PATH, HOME }, stdio: 'ignore' }), 'exit');
}
