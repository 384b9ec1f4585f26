// What a tunnel over an SSM session is made of, and whom it tells. Types only.
import type { StartSessionRequest } from '../aws/ssm-api.ts';
import type { NetworkWatch } from '../network-watch.ts';
import type { SessionOptions } from './session.ts';

export interface SsmTransportOptions extends SessionOptions {
  request: StartSessionRequest;
  maxPayloadBytes: number;
  maxMessagesPerSecond: number;
  /** How long a cut session is tried to be resumed. */
  resumeTimeoutMs: number;
  /** Shared by all tunnels of the process. */
  networkWatch: NetworkWatch;
  payloadMemory: PayloadMemory;
}

/** What was learned about a region's gateway (outgoing.ts, payload size). */
export interface PayloadMemory {
  refusesLargePayloads(region: string): boolean;
  rememberRefusal(region: string): void;
}
