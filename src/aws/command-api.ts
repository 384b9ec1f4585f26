// A command that the SSM agent runs on a node for us (Run Command), as the rest of the program sees it. AWS's calls are
// loaded with the first one (command-client.ts): most callers never have one.
import type { SSMClient } from '@aws-sdk/client-ssm';
import type { Clock } from '../clock.ts';
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

export class LazyCommands implements CommandApi {
  readonly #options: CommandOptions;

  constructor(options: CommandOptions) {
    this.#options = options;
  }

  async run(request: CommandRequest, signal: AbortSignal): Promise<string> {
    const { runCommand } = await import('./command-client.ts');
    return await runCommand(this.#options, request, signal);
  }
}
