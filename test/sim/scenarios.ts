// What may go wrong in a run, each kind of trouble under a name of its own. All numbers are drawn from the seed.
import { Backoff } from '../../src/ssm/backoff.ts';
import type { Faults } from './link.ts';
import { Random } from './random.ts';

export type Ending =
  /** sshd closes when it has said and heard all: everything must arrive, unless `mayLose`. */
  | 'server-closes'
  /** The client ends the session behind its last byte: everything it wrote must arrive. */
  | 'terminate'
  /** TerminateSession API, reset connection: what arrived must be right. */
  | 'cancelled'
  | 'reset'
  /** Nothing listens there: the handshake, then nothing but the end. */
  | 'refused'
  /** The client can't be reached for longer than the agent waits for its handshake. */
  | 'unanswered';

interface Span {
  at: number;
  forMs: number;
}

export interface Scenario {
  name: string;
  upBytes: number;
  downBytes: number;
  maxPayloadBytes: number;
  windowMessages: number;
  windowBytes: number;
  /** How many messages the client, and the agent, keep that are ahead of a gap. */
  maxAheadMessages: number;
  agentCapacity: number;
  /** The gateway cuts the client's socket over longer messages. */
  maxMessageBytes: number;
  up: Faults;
  down: Faults;
  dialMs: number;
  writeFromMs: number;
  speakFromMs: number;
  cuts: (Span & { leg: 'client' | 'agent' })[];
  /** Half-open connections, a client that sleeps, and the gateway's pause_publication. */
  standstills: Span[];
  sleeps: Span[];
  pauses: Span[];
  readerPauses: Span[];
  portStalls: Span[];
  noise: number[];
  ending: Ending;
  /** When `cancelled` or `reset` happens. */
  endAtMs: number;
  /** channel_closed arrives before the output that was sent ahead of it. */
  overtaking: boolean;
  /**
   * The last output may be lost: the agent waits 2 s for its acks, then ends (protocol.md 6.1). The client can
   * only report what it misses.
   */
  mayLose: boolean;
  /** A run that takes longer in virtual time is a failure. */
  limitMs: number;
}

type Trouble = (random: Random, base: Scenario) => Partial<Scenario>;

const troubles: Record<string, Trouble> = {
  calm: () => ({}),
  loss: (random) => ({
    up: { lose: random.between(0, 0.1) },
    down: { lose: random.between(0, 0.1) },
    mayLose: true,
  }),
  doubles: (random) => ({ up: { repeat: random.between(0, 0.5) }, down: { repeat: random.between(0, 0.5) } }),
  disorder: (random) => ({ up: { reorder: random.between(0, 0.5) }, down: { reorder: random.between(0, 0.5) } }),
  damage: (random) => ({
    up: { damage: random.between(0, 0.1) },
    down: { damage: random.between(0, 0.1) },
    mayLose: true,
  }),
  cuts: (random) => ({
    cuts: several(random, 4, () => ({ ...span(random, 3000, 3000), leg: random.pick(['client', 'agent']) })),
    mayLose: true,
  }),
  'half-open': (random) => ({ standstills: several(random, 3, () => span(random, 3000, 12_000)) }),
  // Each wakes up to a socket that is as it was, or gone.
  sleep: (random) => {
    const sleeps = several(random, 3, () => span(random, 3000, 60_000));
    const woken = sleeps.filter(() => random.chance(0.5));
    const cuts = woken.map(({ at, forMs }) => ({
      at: at + forMs,
      forMs: random.magnitude(3000),
      leg: 'client' as const,
    }));
    return { sleeps, cuts, mayLose: true };
  },
  // Ten minutes, as a train through the mountains.
  'long away': (random) => ({
    cuts: [{ at: random.between(0, 3000), forMs: random.between(60_000, 600_000), leg: 'client' }],
    mayLose: true,
    limitMs: 900_000,
  }),
  // A cut that lasts as long as the tries of ResumeSession that fail, for want of credentials or for throttling.
  'refused resumes': (random) => ({
    cuts: several(random, 2, () => ({ at: random.between(0, 5000), forMs: triesMs(random), leg: 'client' as const })),
    mayLose: true,
    limitMs: 900_000,
  }),
  pauses: (random) => ({ pauses: several(random, 10, () => span(random, 3000, 3000)) }),
  'narrow buffers': (random) => ({
    windowBytes: random.magnitude(64 * 1024),
    maxAheadMessages: random.magnitude(50),
    agentCapacity: random.magnitude(50),
    up: { lose: random.between(0, 0.05), reorder: random.between(0, 0.2) },
    down: { lose: random.between(0, 0.05), reorder: random.between(0, 0.2) },
    mayLose: true,
    limitMs: 900_000,
  }),
  stalls: (random) => ({
    // Shorter than the agent waits for the handshake.
    readerPauses: several(random, 3, () => span(random, 1000, 12_000)),
    portStalls: several(random, 3, () => span(random, 1000, 20_000)),
  }),
  hostility: (random) => ({ noise: several(random, 40, () => random.between(0, 3000)) }),
  // Whichever is refused first, the probe of the client or the socket it went out on.
  'small messages only': (random) => ({
    upBytes: random.integer(0, 200_000),
    maxPayloadBytes: 32 * 1024,
    maxMessageBytes: 120 + random.integer(1024, 20_000),
    mayLose: true,
  }),
  'slow dial': (random) => ({ dialMs: random.between(500, 5000) }),
  cancellation: (random) => ({ ending: 'cancelled', endAtMs: random.between(0, 3000) }),
  reset: (random) => ({ ending: 'reset', endAtMs: random.between(0, 3000) }),
  'refused port': () => ({ ending: 'refused' }),
  'no answer': (random) => ({
    ending: 'unanswered',
    cuts: [{ at: 0, forMs: random.between(15_100, 30_000), leg: 'client' }],
  }),
  'overtaking end': (random) => ({
    ending: 'server-closes',
    windowMessages: 1000,
    down: { delayMs: random.between(500, 2500) },
    overtaking: true,
    mayLose: true,
  }),
  everything: (random, base) => {
    const parts = ['loss', 'doubles', 'disorder', 'damage', 'cuts', 'stalls', 'hostility', 'slow dial'];
    const drawn = parts.filter(() => random.chance(0.6)).map((name) => troubles[name]!(random, base));
    const merged: Partial<Scenario> = Object.assign({}, ...drawn);
    return {
      ...merged,
      up: Object.assign({}, ...drawn.map((part) => part.up)),
      down: Object.assign({}, ...drawn.map((part) => part.down)),
      mayLose: true,
    };
  },
};

export const scenarioNames = Object.keys(troubles);

/** The scenario of a seed; `name` forces its kind. */
export function drawScenario(seed: number, name: string = scenarioNames[seed % scenarioNames.length]!): Scenario {
  const trouble = troubles[name];
  if (trouble === undefined) throw new Error(`no scenario "${name}"; there are: ${scenarioNames.join(', ')}`);
  const random = new Random(seed, name);
  const delayMs = random.pick([0.1, 1, 20, 100]);
  const base: Scenario = {
    name,
    upBytes: amount(random, 300_000),
    downBytes: amount(random, 100_000),
    maxPayloadBytes: random.pick([1024, 1024, 4096, 32 * 1024]),
    windowMessages: random.pick([1000, 1000, 20, 1]),
    windowBytes: 4 * 2 ** 20,
    maxAheadMessages: 10_000,
    agentCapacity: 100_000,
    maxMessageBytes: Infinity,
    up: {},
    down: {},
    dialMs: random.pick([0.1, 5, 50, random.between(0, 1000)]),
    writeFromMs: random.pick([0, 0, random.between(0, 2000)]),
    speakFromMs: random.pick([0, random.between(0, 2000)]),
    cuts: [],
    standstills: [],
    sleeps: [],
    pauses: [],
    readerPauses: [],
    portStalls: [],
    noise: [],
    ending: random.pick(['server-closes', 'server-closes', 'terminate']),
    endAtMs: 0,
    overtaking: false,
    mayLose: false,
    limitMs: 180_000,
  };
  const special = trouble(random, base);
  return { ...base, ...special, up: { delayMs, ...special.up }, down: { delayMs, ...special.down } };
}

/** From nothing to a lot, often little. */
function amount(random: Random, most: number): number {
  return random.chance(0.5) ? random.magnitude(most) - 1 : random.integer(0, most);
}

function several<T>(random: Random, most: number, make: () => T): T[] {
  return Array.from({ length: random.integer(1, most) }, make);
}

/** By the product's own pauses between tries. */
function triesMs(random: Random): number {
  const backoff = new Backoff(1_200_000, () => random.real());
  let now = 0;
  for (let left = random.integer(1, 40); left > 0; left--) now += (backoff.next(now) ?? 0) + random.between(20, 500);
  return now;
}

function span(random: Random, withinMs: number, longestMs: number): Span {
  return { at: random.between(0, withinMs), forMs: random.magnitude(longestMs) };
}
