// The one family of errors. Every failure a user can meet has a stable code (listed in keyhole.1),
// a message that says what happened to which host, and, where there is one, a hint: what to do next.
// Messages are lower case without a final full stop, since they are printed as `keyhole: MESSAGE`.
// Secrets (tokens, signed URLs, credentials) never enter a message.

export interface ErrorDetails {
  /** What to do next; printed on a line of its own. */
  hint?: string;
  cause?: unknown;
}

export class KeyholeError extends Error {
  /** Stable, lower case with hyphens, e.g. `target-not-connected`. */
  readonly code: string;
  readonly hint: string | undefined;

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = code;
    this.hint = details.hint;
  }

  /** Exit status of the process that ends because of this error: 2 used wrongly, 1 failed. */
  get exitStatus(): 1 | 2 {
    return 1;
  }
}

/** The command line was wrong; nothing was started. */
export class UsageError extends KeyholeError {
  override get exitStatus(): 1 | 2 {
    return 2;
  }
}

/** A setting or a configuration file was wrong; nothing was started. */
export class ConfigError extends KeyholeError {
  override get exitStatus(): 1 | 2 {
    return 2;
  }
}

export interface AwsErrorDetails extends ErrorDetails {
  service: string;
  /** AWS's own name of the error, e.g. `AccessDeniedException`. */
  apiCode: string;
  requestId?: string;
  /** True where the same call may succeed later without anybody changing anything. */
  retryable?: boolean;
}

/** AWS answered a call with an error, or could not be called. */
export class AwsError extends KeyholeError {
  readonly service: string;
  readonly apiCode: string;
  readonly requestId: string | undefined;
  readonly retryable: boolean;

  constructor(code: string, message: string, details: AwsErrorDetails) {
    super(code, message, details);
    this.service = details.service;
    this.apiCode = details.apiCode;
    this.requestId = details.requestId;
    this.retryable = details.retryable ?? false;
  }
}

/** A peer broke a protocol (`side: 'remote'`), or we were asked to (`side: 'local'`). */
export class ProtocolError extends KeyholeError {
  readonly side: 'local' | 'remote';

  constructor(code: string, message: string, details: ErrorDetails & { side: 'local' | 'remote' }) {
    super(code, message, details);
    this.side = details.side;
  }
}

/** The path to the target could not be opened, or ended other than by a clean close. */
export class TransportError extends KeyholeError {
  readonly retryable: boolean;

  constructor(code: string, message: string, details: ErrorDetails & { retryable?: boolean } = {}) {
    super(code, message, details);
    this.retryable = details.retryable ?? false;
  }
}

/** An error as it is told to another process of ours. */
export interface ErrorReport {
  code: string;
  message: string;
  hint?: string;
  exitStatus: 1 | 2;
}

export function reportOf(error: KeyholeError): ErrorReport {
  return {
    code: error.code,
    message: error.message,
    exitStatus: error.exitStatus,
    ...(error.hint !== undefined && { hint: error.hint }),
  };
}

/** An error that another process of ours met, for whoever has to show it. */
export class ReportedError extends KeyholeError {
  readonly #exitStatus: 1 | 2;

  constructor({ code, message, hint, exitStatus }: ErrorReport) {
    super(code, message, hint === undefined ? {} : { hint });
    this.#exitStatus = exitStatus;
  }

  override get exitStatus(): 1 | 2 {
    return this.#exitStatus;
  }
}
