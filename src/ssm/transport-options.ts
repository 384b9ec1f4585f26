// What a tunnel over an SSM session is made of, and whom it tells. Types only.
import type { StartSessionRequest } from '../aws/ssm-api.ts';
import type { Clock } from '../clock.ts';
import type { KeyholeError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { NetworkWatch } from '../network-watch.ts';
import type { SessionOptions } from './session.ts';

export interface SsmTransportOptions extends SessionOptions {
  request: StartSessionRequest;
  clock: Clock;
  log: Log;
  maxPayloadBytes: number;
  maxMessagesPerSecond: number;
  /** How long a cut session is tried to be resumed. */
  resumeTimeoutMs: number;
  /** Shared by all tunnels of the process. */
  networkWatch: NetworkWatch;
  payloadMemory: PayloadMemory;
  notes?: SessionNotes;
}

/** Told of every session that exists at AWS and of its end, so that none is forgotten when the process is killed. */
export interface SessionNotes {
  started(sessionId: string): void;
  /** Only where the end was confirmed: by the agent, or by AWS's answer to TerminateSession. */
  ended(sessionId: string): void;
  /** It was cut and can't be resumed until the user has done what the hint says; it is tried on meanwhile. */
  stuck?(failure: KeyholeError): void;
}

/** What was learned about a region's gateway (outgoing.ts, payload size). */
export interface PayloadMemory {
  refusesLargePayloads(region: string): boolean;
  rememberRefusal(region: string): void;
}
