// What the simulated services refuse, in AWS's own terms. `api/` writes it as a JSON 1.1 error, the gateway as
// the body of a refused upgrade.

export class ServiceError extends Error {
  /** AWS's name of the error, e.g. `TargetNotConnected`: the `__type` of the answer. */
  readonly code: string;
  readonly status: number;

  constructor(code: string, message: string, status = 400) {
    super(message);
    this.name = 'ServiceError';
    this.code = code;
    this.status = status;
  }
}
