// Streams of many manners through one multiplexed session, hundreds of seeds: the client's end against the agent's.
import t from 'tap';
import { MuxViolation, runMux } from './mux-world.ts';

const seeds = 120;

t.test('every stream ends as it should, with its own bytes, once and in order', async (t) => {
  let streams = 0;
  for (let seed = 0; seed < seeds; seed++) {
    try {
      streams += runMux(seed).streams;
    } catch (error) {
      if (!(error instanceof MuxViolation)) throw error;
      t.fail(`seed ${seed}: ${error.message}`);
    }
  }
  t.ok(streams > 2 * seeds, `${streams} streams`);
});

t.test('a seed decides everything: the same one gives the same trace', async (t) => {
  const trace = (seed: number) => {
    const lines: string[] = [];
    runMux(seed, (line) => lines.push(line));
    return lines;
  };
  t.same(trace(3), trace(3));
  t.notSame(trace(3), trace(4));
});
