// What may go wrong between the two legs of a session, per direction; read for every message, so that a change takes
// effect at once. Random choices come from one seed for each session: the same seed and messages, the same faults.
export interface DirectionFaults {
  /** Shares of messages, 0 to 1. */
  lose: number;
  double: number;
  /** Let one to three later messages overtake. */
  reorder: number;
  /** Flip one bit of the payload. */
  corrupt: number;
  delayMs: number;
  /** Of the line, which all sessions share that have these faults: first come, first served. */
  bytesPerSecond: number;
  /** When the last byte that was given to the line is out. */
  busyUntil: number;
  /** A larger message is not forwarded: it cuts the client's leg (up), or is dropped (down). */
  maxMessageBytes: number;
  /** Which messages the shares are of. */
  of: 'all' | 'data' | 'acknowledgements';
  /** How many messages have met one of the shares so far. */
  struck: number;
}

export interface FaultSettings {
  /** From the client to the agent. */
  up?: Partial<DirectionFaults>;
  /** From the agent to the client. */
  down?: Partial<DirectionFaults>;
  /** How a message over `maxMessageBytes` cuts: by close frame, or without one (1006 at the client). */
  oversizeCut?: 1009 | 1006;
}

/** How a client's leg is cut. */
export type Cut =
  /** 1006, which no frame can carry: TCP is closed in order, without a close frame. */
  | { by: 'close'; code: number; reason?: string }
  /** TCP reset, no close frame. */
  | { by: 'reset' }
  /** Half-open: nothing passes either way for `ms`, then everything goes on. */
  | { by: 'freeze'; ms: number };

/** How the agent's leg is cut. The agent dials again; its TCP connection to sshd stays (protocol.md 7). */
export interface AgentCut {
  /** Until it is back; default 10 ms, as observed (section 16, row 10). */
  ms?: number;
  /** What becomes of the client's messages meanwhile; default `buffer`, as far as `GatewayOptions.awayMessages` goes. */
  meanwhile?: 'buffer' | 'drop';
}

export const agentCutMs = 10;
/** Until the agent knows that its leg is gone: what it sends in this time is lost, and resent when it is back. */
export const agentNoticesMs = 10;

export const noFaults: DirectionFaults = {
  lose: 0,
  double: 0,
  reorder: 0,
  corrupt: 0,
  delayMs: 0,
  bytesPerSecond: Infinity,
  busyUntil: 0,
  maxMessageBytes: Infinity,
  of: 'all',
  struck: 0,
};

export class Faults {
  readonly up: DirectionFaults = { ...noFaults };
  readonly down: DirectionFaults = { ...noFaults };
  oversizeCut: 1009 | 1006 = 1009;

  constructor(settings: FaultSettings = {}) {
    this.set(settings);
  }

  /** Changes what is named and leaves the rest. */
  set(settings: FaultSettings): void {
    Object.assign(this.up, settings.up);
    Object.assign(this.down, settings.down);
    if (settings.oversizeCut !== undefined) this.oversizeCut = settings.oversizeCut;
  }

  clear(): void {
    this.set({ up: noFaults, down: noFaults, oversizeCut: 1009 });
  }
}

export type Random = () => number;

/** Numbers in [0, 1) that depend on the seed alone (mulberry32). */
export function seededRandom(seed: number): Random {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
