// A command that the SSM agent runs on a node for us (Run Command), as the rest of the program sees it.
import type { SSMClient } from '@aws-sdk/client-ssm';
import type { Clock } from '../clock.ts';
import { runCommand } from './command-client.ts';
import type { SsmCall } from './ssm-call.ts';

export interface CommandRequest {
  /** `i-…` or `mi-…`. */
  target: string;
  /** Name or ARN of a document of type Command. */
  documentName: string;
  parameters: Record<string, string[]>;
  /** Up to 100 characters, for who reads the account's history of commands. */
  comment: string;
}

export interface CommandApi {
  /**
   * Resolves with what the command wrote to standard output, of which AWS keeps 24,000 characters, once it has succeeded.
   * @throws AwsError; KeyholeError `command-failed`, `command-undelivered`; the signal's reason
   */
  run(request: CommandRequest, signal: AbortSignal): Promise<string>;
}

export interface CommandOptions {
  client: SSMClient;
  region: string;
  call: SsmCall;
  clock: Clock;
}

export class Commands implements CommandApi {
  readonly #options: CommandOptions;

  constructor(options: CommandOptions) {
    this.#options = options;
  }

  run(request: CommandRequest, signal: AbortSignal): Promise<string> {
    return runCommand(this.#options, request, signal);
  }
}
