// How an AWS protocol writes calls, answers and refusals: what lies between HTTP and a service's operations. There are
// two: json-wire.ts (SSM, EC2 Instance Connect) and query-wire.ts (EC2, STS).
import type { IncomingMessage } from 'node:http';
import type { ServiceError } from '../errors.ts';
import type { Structure } from './shape.ts';

export interface Answer {
  status: number;
  contentType: string;
  body: string;
}

export interface Wire {
  /** The operation that the request names; undefined if it is not one for this service. */
  action(request: IncomingMessage, body: Buffer): string | undefined;
  /** Not validated yet. Throws ServiceError for what can't be read. */
  readInput(body: Buffer, shape: Structure): unknown;
  answer(action: string, output: object, requestId: string): Answer;
  /** `error` has the name that JSON services give it; the wire writes it as its own services do. */
  refuse(error: ServiceError, requestId: string): Answer;
}
