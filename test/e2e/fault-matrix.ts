// Runs the cells of fault-cells.ts, all of them side by side: one region, one daemon, an instance for each transfer.
import type { Test } from 'tap';
import { Faults } from '../region/gateway/faults.ts';
import { Random } from '../sim/random.ts';
import { type DaemonBench, openDaemonBench } from './daemon-bench.ts';
import type { Cell } from './fault-cells.ts';
import { Credentials } from './fault-credentials.ts';
import { Freight, openTransfers, type Transfer } from './fault-transfer.ts';

export interface MatrixOptions {
  cells: Cell[];
  seed: number;
  upBytes: number;
  downBytes: number;
  /** After which a transfer has failed. */
  timeoutMs: number;
}

interface CellRun {
  cell: Cell;
  bench: DaemonBench;
  transfer: Transfer;
  renewCredentials: () => void;
  random: Random;
  faults: Faults | undefined;
}

export async function runMatrix(t: Test, options: MatrixOptions): Promise<void> {
  const wanted = options.cells.flatMap((cell) =>
    (cell.directions ?? (['up', 'down'] as const)).map((direction) => ({ cell, direction })),
  );
  const faults = wanted.map(({ cell, direction }) => cell.faults && new Faults(cell.faults(direction)));
  const bench = await openFaultBench(t, options.seed, {
    instances: wanted.length,
    node: (at) => ({ faults: faults[at], awayMessages: wanted[at]!.cell.awayMessages }),
  });
  const freight = new Freight(bench, options);
  const { timeoutMs } = options;
  const credentials = wanted.map(({ cell }, at) =>
    cell.ownCredentials ? new Credentials(bench, bench.instances[at]!) : undefined,
  );
  const transfers = await openTransfers(
    wanted.map(({ direction }, at) => {
      return { bench, freight, direction, host: bench.instances[at]!, env: credentials[at]?.env, timeoutMs };
    }),
  );
  t.jobs = wanted.length;
  await Promise.all(
    wanted.map(({ cell, direction }, at) =>
      t.test(`${direction}: ${cell.name}`, { buffered: true }, (t) => {
        const random = new Random(options.seed, `${direction} ${cell.name}`);
        const renewCredentials = () => credentials[at]?.renew();
        return runCell(t, { cell, bench, transfer: transfers[at]!, renewCredentials, random, faults: faults[at] });
      }),
    ),
  );
  t.equal(bench.daemons().length, 1, 'one daemon has carried all of them');
  await bench.idle();
}

/** A bench in which many start at once; ResumeSession keeps AWS's quota. */
export function openFaultBench(
  t: Test,
  seed: number,
  options: Pick<Parameters<typeof openDaemonBench>[1] & object, 'instances' | 'node'>,
): Promise<DaemonBench> {
  return openDaemonBench(t, {
    ...options,
    region: { seed, quotas: { StartSession: 1_000, SendSSHPublicKey: 1_000, TerminateSession: 1_000 } },
    env: { KEYHOLE_START_SESSIONS_PER_SECOND: '1000', KEYHOLE_DEADLINE: '60s', KEYHOLE_LOG_LEVEL: 'info' },
  });
}

async function runCell(t: Test, { cell, bench, transfer, renewCredentials, random, faults }: CellRun): Promise<void> {
  const { session } = transfer;
  const strike = async () => cell.strike?.({ bench, session, random, renewCredentials });
  if (cell.when === 'idle') await strike();
  transfer.begin();
  if (cell.strike !== undefined && cell.when !== 'idle') {
    await transfer.hasReached(random.between(0.05, 0.6));
    t.ok(transfer.share < 1 && !transfer.hasEnded, 'it strikes in the middle of the transfer');
    await strike();
  }
  await transfer.check(t);
  const reopens = cell.reopens ?? (cell.strike === undefined ? 0 : 1);
  t.ok(session.opens.length > reopens, `the data channel was opened ${session.opens.length} times`);
  // A rarer one may meet none.
  const isFrequent = [faults?.up, faults?.down].some((way) => way && way.lose + way.double + way.reorder >= 0.05);
  if (faults !== undefined && isFrequent) t.ok(faults.up.struck + faults.down.struck > 0, 'messages met the fault');
}
