// What the doctor says of one thing that must hold. Codes are stable, like those of errors.
import { KeyholeError } from '../errors.ts';

/**
 * `fail`: connections don't work because of it. `warn`: they do, but worse than they could. `none`: it does not apply.
 * `unknown`: it could not be checked, as a rule for want of a permission that connections do without.
 */
export type Status = 'pass' | 'fail' | 'warn' | 'none' | 'unknown';

export interface Finding {
  check: string;
  status: Status;
  /** A line. */
  detail: string;
  /** What to do. */
  remedy?: string;
}

export function pass(check: string, detail: string): Finding {
  return { check, status: 'pass', detail };
}

export function fail(check: string, detail: string, remedy: string): Finding {
  return { check, status: 'fail', detail, remedy };
}

export function warn(check: string, detail: string, remedy: string): Finding {
  return { check, status: 'warn', detail, remedy };
}

export function none(check: string, detail: string): Finding {
  return { check, status: 'none', detail };
}

/** An error of ours is told with its own hint. */
export function failed(check: string, error: unknown, remedy?: string): Finding {
  return { ...ofError(check, error, remedy), status: 'fail' };
}

export function unknown(check: string, error: unknown): Finding {
  const finding = ofError(check, error, undefined);
  return { ...finding, status: 'unknown', detail: `could not check: ${finding.detail}` };
}

function ofError(check: string, error: unknown, remedy: string | undefined): Finding {
  if (!(error instanceof KeyholeError)) throw error;
  const what = remedy ?? error.hint;
  return { check, status: 'fail', detail: error.message, ...(what !== undefined && { remedy: what }) };
}
