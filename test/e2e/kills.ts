// kill -9 at random moments, of each of the processes that take part in a connection: ssh, the helper, the daemon. Used by
// daemon-kills.test.ts and by scripts/kills, which does it more often. Every choice comes from a seed.
import { readFileSync } from 'node:fs';
import type { Test } from 'tap';
import { Random } from '../sim/random.ts';
import { type DaemonBench, kill, openDaemonBench, works } from './daemon-bench.ts';
import { type Running, until } from './fixture.ts';

export const victims = ['ssh', 'helper', 'daemon'] as const;
export type Victim = (typeof victims)[number];

/** A connection that opens takes about 300 ms on a quiet machine, from nothing about 600; killed up to then, and after. */
const latestKillMs = 700;

export interface Round {
  seed: number;
  victim: Victim;
  /** After which it is killed, from the start of ssh or, of a helper, from its own. */
  delayMs: number;
  /** Whether no daemon runs at first. */
  cold: boolean;
}

export function planRound(seed: number): Round {
  const random = new Random(seed);
  return {
    seed,
    victim: victims[seed % victims.length]!,
    delayMs: random.integer(0, latestKillMs),
    cold: random.chance(0.25),
  };
}

/**
 * One kill, and what must hold then: at once the next ssh works, and 3 s later nothing of the first is left.
 * @returns whether there was anything to kill at that moment
 * @throws what does not hold
 */
async function killOnce(bench: DaemonBench, round: Round): Promise<{ killed: boolean }> {
  if (round.cold) await bench.stop();
  const ssh = bench.start('ssh', ['-F', bench.config, bench.instances[0]!, 'echo started; exec sleep 60'], {
    input: 'open',
  });
  const killed = await killVictim(bench, ssh, round);
  // The next one has to work while the first one's remains are still being cleared away.
  const next = await bench.works({ timeoutMs: 20_000 });
  if (next.status !== 0 || next.text !== works.text || next.stderr !== '') {
    throw new Error(`the next ssh: status ${next.status}, stderr ${next.stderr}`);
  }
  // A helper may have ended before it was killed, and a helper survives its daemon: then ssh lives, and that is right.
  ssh.child.kill('SIGKILL');
  await ssh.exit;
  await idleButForTheUnknown(bench, round);
  if (bench.daemons().length !== 1) throw new Error(`${bench.daemons().length} daemons (killed: ${killed})`);
  const sockets = bench.sockets().join(' ');
  const expected = ['agent.sock', 'control.sock', `${bench.sshd.user}@${bench.instances[0]}:22`].sort().join(' ');
  if (sockets !== expected) throw new Error(`in the runtime folder are ${sockets}`);
  const left = (await bench.status())?.leftSessions ?? [];
  if (left.length > 0) throw new Error(`status lists ${left.length} sessions as left`);
  return { killed };
}

/**
 * As bench.idle, but for one thing: a daemon that is killed between StartSession and its answer never learns what AWS has started,
 * and neither does anybody else. No client ever connects to it, and AWS ends it. One kill can leave as many as there were calls.
 */
async function idleButForTheUnknown(bench: DaemonBench, { victim }: Round): Promise<void> {
  try {
    await bench.idle();
  } catch (error) {
    const [unknown, ...others] = bench.region.sessions.filter(({ active }) => active);
    const isUnknown = victim === 'daemon' && unknown?.status === 'Connecting' && others.length === 0;
    if (!isUnknown || bench.proxies().length !== bench.daemons().length) throw error;
    unknown.end('idle', '');
  }
}

async function killVictim(bench: DaemonBench, ssh: Running, { victim, delayMs }: Round): Promise<boolean> {
  const ended = () => ssh.child.exitCode !== null;
  if (victim === 'helper') {
    const helper = () => childrenOf(bench, ssh.pid)[0];
    await until('ssh has started the helper', () => helper() !== undefined || ssh.stdout().length > 0 || ended());
    const pid = helper();
    await pause(delayMs % 300); // it lives no longer than that
    return pid !== undefined && kill(pid, 'SIGKILL');
  }
  await pause(delayMs);
  if (victim === 'ssh') return ssh.child.kill('SIGKILL');
  // On a slow machine the first helper has not started one yet.
  await until('there is a daemon', () => bench.daemons().length > 0 || ended(), 20_000);
  const [daemon] = bench.daemons();
  return daemon !== undefined && kill(daemon, 'SIGKILL');
}

function childrenOf(bench: DaemonBench, parent: number): number[] {
  return bench.proxies().filter((pid) => {
    try {
      // proc_pid_stat(5): the fourth field; the second is a name in parentheses.
      return Number(/\) \S (\d+) /.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))?.[1]) === parent;
    } catch {
      return false; // gone since
    }
  });
}

/** The moment is what is random here; there is no condition to wait for. */
function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A victim that had gone before its moment came is killed in a further round, twice as early, so many times at most. */
const furtherTries = 9;

/** As many rounds as asked; a failure names the seed with which it can be repeated. Returns how often each was killed. */
export async function killOften(
  bench: DaemonBench,
  firstSeed: number,
  rounds: number,
): Promise<Record<Victim, number>> {
  const killed = { ssh: 0, helper: 0, daemon: 0 };
  for (let seed = firstSeed; seed < firstSeed + rounds; seed += 1) {
    let round = planRound(seed);
    try {
      for (let tries = 0; tries <= furtherTries; tries += 1) {
        if ((await killOnce(bench, round)).killed) {
          killed[round.victim] += 1;
          break;
        }
        round = { ...round, delayMs: Math.floor(round.delayMs / 2) };
      }
    } catch (error) {
      throw new Error(`${(error as Error).message}; ${JSON.stringify(round)}; again with: scripts/kills 1 ${seed}`);
    }
  }
  return killed;
}

/** A bench in which AWS's quotas don't slow the rounds down. */
export function openKillBench(t: Test): Promise<DaemonBench> {
  const perSecond = 1_000;
  const actions = ['StartSession', 'TerminateSession', 'ResumeSession', 'SendSSHPublicKey'];
  return openDaemonBench(t, {
    region: { quotas: Object.fromEntries(actions.map((action) => [action, perSecond])) },
    env: { KEYHOLE_START_SESSIONS_PER_SECOND: String(perSecond) },
  });
}
