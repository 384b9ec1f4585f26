// What the benchmark says about samples. Medians and quartiles, since a machine that does other things too has outliers.
// Ratios are taken within a round, in which all subjects met the same machine.

/** The value below which the share `p` (0 to 1) of the samples lies, interpolated (R's type 7); NaN of none. */
export function quantile(samples: readonly number[], p: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const position = (sorted.length - 1) * p;
  const below = sorted[Math.floor(position)];
  const above = sorted[Math.ceil(position)];
  if (below === undefined || above === undefined) return Number.NaN;
  return below + (above - below) * (position - Math.floor(position));
}

export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5);
}

export interface Summary {
  count: number;
  median: number;
  /** The middle half lies between these. */
  lower: number;
  upper: number;
}

export function summarize(samples: readonly number[]): Summary {
  return {
    count: samples.length,
    median: median(samples),
    lower: quantile(samples, 0.25),
    upper: quantile(samples, 0.75),
  };
}

/** Of samples of the same rounds: `undefined` stands for a round that failed. */
export type Series = readonly (number | undefined)[];

export function present(series: Series): number[] {
  return series.filter((sample) => sample !== undefined);
}

/** How many times `base` each round of `series` was; undefined where no round has both. */
export function ratios(series: Series, base: Series): Summary | undefined {
  return summarizeOrNothing(pairs(series, base).map(([ours, theirs]) => ours / theirs));
}

/** By how much each round of `series` was above `base`. */
export function differences(series: Series, base: Series): Summary | undefined {
  return summarizeOrNothing(pairs(series, base).map(([ours, theirs]) => ours - theirs));
}

function pairs(series: Series, base: Series): [number, number][] {
  return series.flatMap((ours, round) => {
    const theirs = base[round];
    return ours === undefined || theirs === undefined ? [] : [[ours, theirs] as [number, number]];
  });
}

function summarizeOrNothing(samples: number[]): Summary | undefined {
  return samples.length === 0 ? undefined : summarize(samples);
}
