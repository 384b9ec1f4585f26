// `keyhole why`: the last failures, for all those whose editor or script did not show them.
import { type FailureRecord, readFailures } from '../failure-record.ts';
import { ownPaths } from './own-paths.ts';
import type { VerbContext } from './run.ts';

const shown = 10;

export async function why(
  { host, json }: { host: string | undefined; json: boolean },
  { terminal, env }: VerbContext,
): Promise<void> {
  const all = readFailures(ownPaths(env).stateDir);
  const failures = all
    .filter((failure, at) => !isSaid(failure, all[at - 1]))
    .filter(isOf(host))
    .slice(-shown);
  if (json) return terminal.print(JSON.stringify(failures, undefined, 2));
  if (failures.length === 0) return terminal.print(`no failure is recorded${host === undefined ? '' : ` of ${host}`}`);
  terminal.print(failures.map(describe).join('\n'));
}

/** What fails for one reason may fail in two places: the push of a key, and the session. */
const sameMs = 15_000;

function isSaid(failure: FailureRecord, before: FailureRecord | undefined): boolean {
  return (
    before !== undefined &&
    (['host', 'port', 'code', 'message'] as const).every((key) => failure[key] === before[key]) &&
    failure.time - before.time < sameMs
  );
}

function isOf(host: string | undefined): (failure: FailureRecord) => boolean {
  return (failure) => host === undefined || failure.host === host;
}

function describe({ time, host, port, code, message, hint }: FailureRecord): string {
  const head = `${new Date(time).toISOString()} ${host}${port === '' ? '' : `:${port}`} ${code}\n  ${message}`;
  return hint === undefined ? head : `${head}\n  hint: ${hint}`;
}
