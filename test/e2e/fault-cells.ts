// The cells of the matrix of faults (issue 5): what goes wrong with a transfer, each kind under a name of its own. Every
// one of them must be survived with all bytes, by the same ssh. All choices are drawn from the seed.
//
// Not here, since no client can survive them:
// - Damage on the way up. The agent does not look at the digest (protocol.md 4.3): it hands wrong bytes to sshd, whose MAC
//   ends the connection.
// - The agent's leg cut during an upload. The agent may write a message to sshd, fail to acknowledge it, and write it again
//   when it is resent (protocol.md section 16, row 5; one of three tries); sshd's MAC ends the connection.
import type { FaultSettings } from '../region/gateway/faults.ts';
import type { Session } from '../region/sessions.ts';
import type { Random } from '../sim/random.ts';
import type { DaemonBench } from './daemon-bench.ts';
import { until } from './fixture.ts';
import type { Direction } from './transfer.ts';

export interface Cell {
  name: string;
  /** Default: both. */
  directions?: Direction[];
  /** Between the legs from the first message on. */
  faults?(direction: Direction): FaultSettings;
  /** How many messages of the agent the gateway keeps for a client that is away; default as in the region. */
  awayMessages?: number;
  /** When it strikes: before the first byte of the transfer, or in the middle of it (default). */
  when?: 'idle' | 'transfer';
  /** How often the client has to open its data channel again because of it; default 1 where something strikes. */
  reopens?: number;
  strike?(victim: Victim): Promise<void> | void;
  /** The connection is made with credentials that no other one has. */
  ownCredentials?: boolean;
  /** Too long for the suite. */
  long?: boolean;
}

export interface Victim {
  bench: DaemonBench;
  session: Session;
  random: Random;
  /** `ownCredentials` expire, and there are new ones where they came from. */
  renewCredentials: () => void;
}

const cut = (by: Parameters<DaemonBench['region']['cut']>[0]) => {
  return ({ bench, session }: Victim) => bench.region.cut(by, session.sessionId);
};
const reset = cut({ by: 'reset' });

const cuts: Cell[] = [
  { name: 'cut by RST', strike: reset },
  ...[1000, 1001, 1006, 1011].map((code) => ({
    name: `closed with ${code}`,
    strike: cut({ by: 'close', code, reason: code === 1000 ? 'Bye' : '' }),
  })),
  {
    name: 'three cuts in a row',
    reopens: 3,
    async strike(victim) {
      for (let opens = 1; opens <= 3; opens += 1) {
        await until(`socket ${opens} is open`, () => victim.session.opens.length >= opens);
        reset(victim);
      }
    },
  },
  { name: 'cut while the gateway drops what the agent sends', awayMessages: 0, strike: reset },
  { name: 'cut while the gateway keeps what the agent sends', awayMessages: 10_000, strike: reset },
  { name: 'half-open for 6 s', reopens: 0, strike: cut({ by: 'freeze', ms: 6_000 }) },
  { name: 'half-open for 60 s', long: true, strike: cut({ by: 'freeze', ms: 60_000 }) },
];

const refusals: Cell[] = [
  {
    name: 'cut, and the next token refused',
    strike(victim) {
      victim.bench.region.refuseTokens(1, victim.session.sessionId);
      reset(victim);
    },
  },
  {
    name: 'cut, and ResumeSession throttled five times',
    strike(victim) {
      const { sessionId } = victim.session;
      victim.bench.region.apiFaults.fail('ResumeSession', { code: 'ThrottlingException', times: 5, sessionId });
      reset(victim);
    },
  },
  {
    name: 'cut, and the credentials expired',
    ownCredentials: true,
    strike(victim) {
      victim.renewCredentials();
      reset(victim);
    },
  },
];

const agentCuts: Cell[] = [
  {
    name: 'the leg of the agent cut while idle',
    when: 'idle',
    reopens: 0,
    strike: ({ bench, session, random }) =>
      bench.region.cutAgent({ ms: random.integer(5, 200), meanwhile: 'drop' }, session.sessionId),
  },
  {
    name: 'the leg of the agent cut during the transfer',
    directions: ['down'],
    reopens: 0,
    strike: ({ bench, session, random }) =>
      bench.region.cutAgent(
        { ms: random.integer(5, 200), meanwhile: random.pick(['buffer', 'drop']) },
        session.sessionId,
      ),
  },
];

/** Data go one way, their acknowledgements the other. */
const back = { up: 'down', down: 'up' } as const;

const losses: Cell[] = [0.01, 0.05].flatMap((lose) => [
  { name: `${lose * 100} % of the data lost`, faults: (way) => ({ [way]: { lose, of: 'data' } }) },
  {
    name: `${lose * 100} % of the acknowledgements lost`,
    faults: (way) => ({ [back[way]]: { lose, of: 'acknowledgements' } }),
  },
  { name: `${lose * 100} % of everything lost`, faults: () => ({ up: { lose }, down: { lose } }) },
]);

const disorder: Cell[] = [
  { name: '5 % doubled', faults: () => ({ up: { double: 0.05 }, down: { double: 0.05 } }) },
  { name: '5 % reordered', faults: () => ({ up: { reorder: 0.05 }, down: { reorder: 0.05 } }) },
  { name: '0.1 % damaged on the way down', faults: () => ({ down: { corrupt: 0.001 } }) },
];

export const cells: Cell[] = [...cuts, ...refusals, ...agentCuts, ...losses, ...disorder];
