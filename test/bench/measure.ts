// What a measure is, and how its rounds are run: all subjects in each round, each time beginning with another, so that
// what the machine does meanwhile meets all alike.

import type { Network, Stand } from './stand.ts';
import type { Series } from './statistics.ts';
import type { Subject, SubjectOptions } from './subject.ts';

export interface Result {
  /** Unique, as in `connect.banner`. */
  name: string;
  title: string;
  unit: string;
  better: 'lower' | 'higher';
  /** By subject; a round that failed is null in JSON. */
  series: Record<string, Series>;
  /** Where something else than the median of the samples is meant, e.g. the 99th percentile. */
  statistic?: 'p99' | 'max';
  failures?: Record<string, number>;
}

export interface Surroundings {
  stand: Stand;
  /** The region near by. */
  network: Network;
  subjects: Subject[];
  /** To make subjects for another network. */
  subjectOptions: SubjectOptions;
  /** Which subjects were asked for. */
  isWanted(subject: Subject): boolean;
  runs: number;
  isQuick: boolean;
  say(line: string): void;
}

export interface Measure {
  name: string;
  about: string;
  /** Part of `--quick`. */
  quick?: boolean;
  /** Only where asked for, since it takes long. */
  optional?: boolean;
  run(surroundings: Surroundings): Promise<Result[]>;
}

/** Samples by key, of as many rounds; what fails is counted, told and left out. */
export async function interleave<T extends { name: string }>(
  subjects: readonly T[],
  rounds: number,
  once: (subject: T, round: number) => Promise<Record<string, number>>,
  say: (line: string) => void,
): Promise<{ series(key: string): Record<string, Series>; failures: Record<string, number> }> {
  const samples = new Map<string, (Record<string, number> | undefined)[]>(subjects.map(({ name }) => [name, []]));
  const failures: Record<string, number> = {};
  for (let round = 0; round < rounds; round++) {
    for (let at = 0; at < subjects.length; at++) {
      const subject = subjects[(at + round) % subjects.length]!;
      const sample = await once(subject, round).catch((error: Error) => {
        failures[subject.name] = (failures[subject.name] ?? 0) + 1;
        say(`failed: ${error.message}`);
        return undefined;
      });
      samples.get(subject.name)!.push(sample);
    }
  }
  return {
    failures,
    series: (key) => Object.fromEntries([...samples].map(([name, list]) => [name, list.map((each) => each?.[key])])),
  };
}
