// The commands of Run Command: sent, seen by GetCommandInvocation a moment later, taken by the node's agent, run, over.
// Statuses: Systems Manager, "Understanding command statuses".
import { randomUUID } from 'node:crypto';
import type { Clock, Timer } from '../../../src/clock.ts';
import type { ManagedNode } from '../state.ts';
import type { Script } from './command-documents.ts';

export interface CommandSettings {
  /** Until GetCommandInvocation knows of a command; default 350 ms. */
  visibleAfterMs: number;
  /** Until the agent has the command; default 100 ms. */
  deliveryMs: number;
}

/** How a script ended. */
export interface ScriptResult {
  /** Exit status; null where it was ended for taking too long. */
  status: number | null;
  stdout: string;
  stderr: string;
}

/** The agent's part: runs a script as the SSM agent does. */
export type RunScript = (script: Script) => Promise<ScriptResult>;

export interface Invocation {
  commandId: string;
  instanceId: string;
  documentName: string;
  parameters: Record<string, string[]>;
  comment: string;
  /** Who signed the call. */
  accessKeyId: string;
  status: 'Pending' | 'InProgress' | 'Success' | 'Failed' | 'TimedOut';
  statusDetails: string;
  responseCode: number;
  stdout: string;
  stderr: string;
  /** On the region's clock. */
  visibleAt: number;
}

/** What GetCommandInvocation shows of each stream. */
const maxOutput = 24_000;

export class Commands {
  /** Every command that was taken, oldest first. */
  readonly all: Invocation[] = [];
  readonly settings: CommandSettings;
  readonly #clock: Clock;
  readonly #deliveries = new Set<Timer>();

  constructor(clock: Clock, settings: CommandSettings) {
    this.#clock = clock;
    this.settings = settings;
  }

  send(
    node: ManagedNode,
    script: Script,
    about: Pick<Invocation, 'documentName' | 'parameters' | 'comment' | 'accessKeyId'>,
  ): Invocation {
    const invocation: Invocation = {
      ...about,
      commandId: randomUUID(),
      instanceId: node.instanceId,
      status: 'Pending',
      statusDetails: 'Pending',
      responseCode: -1,
      stdout: '',
      stderr: '',
      visibleAt: this.#clock.now() + this.settings.visibleAfterMs,
    };
    this.all.push(invocation);
    const timer = this.#clock.after(this.settings.deliveryMs, () => {
      this.#deliveries.delete(timer);
      void run(node, script, invocation);
    });
    this.#deliveries.add(timer);
    return invocation;
  }

  /** Undefined also for one that is not known yet. */
  find(commandId: string, instanceId: string): Invocation | undefined {
    const found = this.all.find((command) => command.commandId === commandId && command.instanceId === instanceId);
    return found !== undefined && this.#clock.now() >= found.visibleAt ? found : undefined;
  }

  /** The region stops. */
  stop(): void {
    for (const timer of this.#deliveries) timer.cancel();
  }
}

async function run(node: ManagedNode, script: Script, invocation: Invocation): Promise<void> {
  const { runScript } = node;
  if (runScript === undefined)
    return void Object.assign(invocation, { status: 'Failed', statusDetails: 'Undeliverable' });
  if (script.platformType !== undefined && script.platformType !== node.platformType) {
    const stdout = 'Step execution skipped due to unsatisfied preconditions.';
    return void Object.assign(invocation, { status: 'Success', statusDetails: 'Success', responseCode: 0, stdout });
  }
  Object.assign(invocation, { status: 'InProgress', statusDetails: 'InProgress' });
  const { status, stdout, stderr } = await runScript(script);
  const over =
    status === null
      ? { status: 'TimedOut', statusDetails: 'ExecutionTimedOut' }
      : status === 0
        ? { status: 'Success', statusDetails: 'Success' }
        : { status: 'Failed', statusDetails: 'Failed' };
  // The agent's own words behind those of the script.
  const said = status === 0 ? stderr : `${stderr}failed to run commands: exit status ${status}`;
  Object.assign(invocation, {
    ...over,
    responseCode: status ?? 137,
    stdout: stdout.slice(0, maxOutput),
    stderr: said.slice(0, maxOutput),
  });
}
