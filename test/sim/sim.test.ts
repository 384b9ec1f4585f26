// The channel of the client against that of the agent over faulty links, thousands of seeds. scripts/sim runs more of
// them, or one with its trace.
import t from 'tap';
import { makeClient } from './client.ts';
import { drawScenario, scenarioNames } from './scenarios.ts';
import { type Client, type ClientOptions, type MakeClient, run, Violation } from './world.ts';
import * as wrong from './wrong-clients.ts';

const seedsPerScenario = 95; // Times 22 scenarios: 2,090.

for (const name of scenarioNames) {
  t.test(`${name}: every byte arrives once and in order, or the end is reported`, async (t) => {
    const failures = violations(name, makeClient, seedsPerScenario);
    for (const { seed, law } of failures) t.fail(`${law}; replay: scripts/sim --seed ${seed} --scenario '${name}'`);
    if (failures.length === 0) t.pass(`${seedsPerScenario} seeds`);
  });
}

t.test('a seed decides everything: the same one gives the same trace', async (t) => {
  const trace = (seed: number) => {
    const lines: string[] = [];
    run({ seed, scenario: drawScenario(seed, 'everything'), makeClient, trace: (line) => lines.push(line) });
    return lines;
  };
  t.same(trace(7), trace(7));
  t.notSame(trace(7), trace(8));
});

/** Sessions under loss that lost their last output: nobody can exclude it, since the agent waits for 2 s only. */
function lossesOfOutput(make: MakeClient, seeds: number): number {
  let losses = 0;
  for (let seed = 0; seed < seeds; seed++) {
    const scenario = { ...drawScenario(seed, 'loss'), ending: 'server-closes' as const };
    if (run({ seed, scenario, makeClient: make }).result === 'reported') losses++;
  }
  return losses;
}

t.test('the end of the output is rarely lost, unless duplicates are not acknowledged', async (t) => {
  const seeds = 200;
  const right = lossesOfOutput(makeClient, seeds);
  const wrongly = lossesOfOutput((options) => new wrong.NeverAcknowledgesTwice(options), seeds);
  t.ok(right < seeds / 10, `${right} of ${seeds}`);
  t.ok(wrongly > seeds / 5, `${wrongly} of ${seeds} without second acknowledgements`);
});

t.test('a wrong client is found out', async (t) => {
  const suspects: [string, new (options: ClientOptions) => Client, RegExp][] = [
    ['disorder', wrong.DeliversInOrderOfArrival, /wrong bytes for the reader/],
    ['doubles', wrong.DeliversDuplicates, /wrong bytes for the reader/],
    ['calm', wrong.LosesOutput, /wrong bytes for the reader|acknowledged output and lost it/],
    ['loss', wrong.NeverResends, /not ended after|nothing is due/],
    ['calm', wrong.SpeaksTooEarly, /data before HandshakeComplete/],
    ['damage', wrong.NeverChecksDigests, /wrong bytes|acknowledged output and lost it/],
    ['loss', wrong.HidesLoss, /messages are not missing, which is wrong/],
    ['cuts', wrong.FallsSilentOnReconnect, /not ended after|nothing is due/],
  ];
  for (const [name, Wrong, law] of suspects) {
    const culprit = violations(name, (options) => new Wrong(options), 1000, law)[0];
    t.match(culprit?.law, law, `${Wrong.name} under ${name}: seed ${culprit?.seed}, "${culprit?.law}"`);
  }
});

/** The seeds that broke a law; with `sought`, the first one that broke that law. */
function violations(name: string, make: MakeClient, seeds: number, sought?: RegExp): { seed: number; law: string }[] {
  const found = [];
  for (let seed = 0; seed < seeds; seed++) {
    try {
      run({ seed, scenario: drawScenario(seed, name), makeClient: make });
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      const violation = { seed, law: error.message };
      if (sought?.test(violation.law)) return [violation];
      if (sought === undefined) found.push(violation);
    }
  }
  return found;
}
