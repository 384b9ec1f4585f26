// `keyhole doctor`: all that must hold for a connection, in order, each with what to do where it does not.
import { systemClock } from '../clock.ts';
import { examine } from '../doctor/doctor.ts';
import type { Finding, Status } from '../doctor/finding.ts';
import { KeyholeError } from '../errors.ts';
import { silent } from '../log.ts';
import { mfaCodeAtTerminal } from './mfa-code.ts';
import { ownPaths, usableSshDir } from './own-paths.ts';
import type { VerbContext } from './run.ts';

const marks: Record<Status, string> = { pass: 'ok', fail: 'FAIL', warn: 'warn', none: '-', unknown: '?' };
const [markWidth, checkWidth] = [6, 18];

/** @throws KeyholeError `doctor-failed` where something fails that matters */
export async function doctor(
  { host, json }: { host: string | undefined; json: boolean },
  { terminal, env, signal }: VerbContext,
): Promise<void> {
  const found: Finding[] = [];
  const [sshDir, mfaCode] = [sshDirOf(env), mfaCodeAtTerminal(() => {})];
  const options = { env, host, paths: ownPaths(env), sshDir, mfaCode, clock: systemClock, log: silent, signal };
  for await (const finding of examine(options)) {
    found.push(finding);
    if (!json) terminal.print(describe(finding));
  }
  if (json) terminal.print(JSON.stringify(found, undefined, 2));
  const failures = found.filter(({ status }) => status === 'fail');
  if (failures.length === 0) return;
  throw new KeyholeError('doctor-failed', `${failures.map(({ check }) => check).join(', ')}: not as it must be`, {
    hint: failures[0]!.remedy ?? 'see above',
  });
}

function describe({ check, status, detail, remedy }: Finding): string {
  const head = `${marks[status].padEnd(markWidth)}${check.padEnd(checkWidth)}${detail}`;
  return remedy === undefined ? head : `${head}\n${' '.repeat(markWidth + checkWidth)}→ ${remedy}`;
}

function sshDirOf(env: NodeJS.ProcessEnv): string | KeyholeError {
  try {
    return usableSshDir(env);
  } catch (error) {
    if (error instanceof KeyholeError) return error;
    throw error;
  }
}
