// Instances on their way up: StartInstances answers at once, DescribeInstances follows a moment later (EC2's API is
// eventually consistent), the state changes to running some seconds after, and the SSM agent is there later still.
import type { Clock, Timer } from '../../src/clock.ts';
import type { ManagedNode } from './state.ts';

/** Each from StartInstances, in milliseconds. */
export interface BootSettings {
  /** Until DescribeInstances says `pending`. */
  visibleMs: number;
  /** Until it says `running`. */
  runningMs: number;
  /** Until the agent's control channel is up. */
  onlineMs: number;
}

export class Boots {
  readonly #clock: Clock;
  readonly #timers = new Set<Timer>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  start(node: ManagedNode, launchedAt: number): void {
    const { visibleMs, runningMs, onlineMs } = node.boot;
    node.online = false;
    node.launchedAt = launchedAt;
    this.#after(visibleMs, () => {
      node.state = 'pending';
    });
    this.#after(runningMs, () => {
      node.state = 'running';
    });
    this.#after(onlineMs, () => {
      node.online = true;
    });
  }

  /** The agent's control channel comes up by itself. */
  connect(node: ManagedNode, ms: number): void {
    this.#after(ms, () => {
      node.online = true;
    });
  }

  /** The region stops: no timer is left. */
  stop(): void {
    for (const timer of this.#timers) timer.cancel();
  }

  #after(ms: number, then: () => void): void {
    const timer = this.#clock.after(ms, () => {
      this.#timers.delete(timer);
      then();
    });
    this.#timers.add(timer);
  }
}
