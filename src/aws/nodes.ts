// What Systems Manager knows of its nodes, as the rest of the program sees it.
import type { SSMClient } from '@aws-sdk/client-ssm';
import { describeNode, listNodes } from './nodes-client.ts';
import type { SsmCall } from './ssm-call.ts';

export interface ManagedNode {
  /** `i-…` or `mi-…`. */
  id: string;
  /** `Online`, `ConnectionLost` or `Inactive`. */
  pingStatus: string;
  agentVersion: string | undefined;
  /** `Linux`, `Windows` or `MacOS`. */
  platform: string | undefined;
  /** With its version, e.g. `Amazon Linux 2023`. */
  system: string | undefined;
  /** What a hybrid node is called, else the computer's own name. */
  name: string | undefined;
  address: string | undefined;
}

/** All reject with AwsError (aws/advice.ts). */
export interface NodesApi {
  /** Undefined for one that never registered, or in another account or region. */
  describeNode(id: string, signal?: AbortSignal): Promise<ManagedNode | undefined>;
  /** All of them, instances and hybrid nodes. */
  listNodes(signal?: AbortSignal): Promise<ManagedNode[]>;
}

export interface NodesOptions {
  client: SSMClient;
  call: SsmCall;
}

export class Nodes implements NodesApi {
  readonly #options: NodesOptions;

  constructor(options: NodesOptions) {
    this.#options = options;
  }

  describeNode(id: string, signal?: AbortSignal): Promise<ManagedNode | undefined> {
    return describeNode(this.#options, id, signal);
  }

  listNodes(signal?: AbortSignal): Promise<ManagedNode[]> {
    return listNodes(this.#options, signal);
  }
}
