// What an AWS API looks like from the region's front: a name to sign for, a protocol, and operations. A further service
// is a further folder entry that makes one of these.
import type { Access, Principal, Resource } from '../identity.ts';
import type { Structure } from './shape.ts';
import type { Wire } from './wire.ts';

export interface Call {
  principal: Principal;
  /** Fits the operation's `input`. */
  input: Record<string, unknown>;
  requestId: string;
  /** Throws AccessDeniedException unless the caller may do this on every one of the resources. */
  authorize(access: Access, ...resources: Resource[]): void;
  /** The same as a question. */
  allows(access: Access, ...resources: Resource[]): boolean;
}

export interface Operation {
  input: Structure;
  /** The answer's body; throws ServiceError. */
  run(call: Call): object;
}

export interface Service {
  /** The service in the credential scope. */
  signingName: string;
  wire: Wire;
  /** Of its ThrottlingException; default `Rate exceeded`. */
  throttledMessage?: string;
  operations: Record<string, Operation>;
}

/** One call as the region saw it, answered or refused. */
export interface RequestRecord {
  /** Milliseconds since 1970, service time. */
  time: number;
  /** The same on the region's clock, milliseconds with fractions: what the quotas go by. */
  at: number;
  service: string;
  action: string;
  /** Who signed; undefined where the signature was refused or missing. */
  accessKeyId: string | undefined;
  arn: string | undefined;
  /** As the protocol has it: EC2's lists are named in the singular. */
  input: unknown;
  requestId: string;
  status: number;
  /** AWS's name of the error. */
  error: string | undefined;
  userAgent: string | undefined;
}
