// How long the property tests run: short by default, FUZZ_RUNS=1000000 for a long night. fast-check prints the seed
// and the path of a failure; put them into the test's parameters to see it again.
import type { Parameters } from 'fast-check';

export function runs<T>(byDefault: number): Parameters<T> {
  const wanted = process.env.FUZZ_RUNS;
  return { numRuns: wanted === undefined ? byDefault : Number(wanted) };
}
