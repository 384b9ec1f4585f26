// What befalls all tunnels of a daemon at once: the network is away, or the machine sleeps. Each of them has a transfer up,
// one down, and some that are idle; all are the same ssh afterwards.
import type { Test } from 'tap';
import { type DaemonBench, kill } from './daemon-bench.ts';
import { openFaultBench } from './fault-matrix.ts';
import { Freight, openTransfers, type Transfer } from './fault-transfer.ts';
import { until } from './fixture.ts';

export interface OutageOptions {
  seed: number;
  upBytes: number;
  downBytes: number;
  /** How long it lasts. */
  ms: number;
  /** Transfers that begin only afterwards. */
  idle: number;
}

/** Every connection is reset and none can be made. */
export async function networkAway(t: Test, options: OutageOptions): Promise<void> {
  await outage(t, options, async (bench, transfers) => {
    const { region } = bench;
    region.goAway();
    await pause(options.ms);
    const requestsBefore = region.requests.length;
    await region.comeBack();
    const isBack = ({ session }: Transfer) => session.opens.length >= 2;
    await until('all tunnels are back', () => transfers.every(isBack), 60_000);
    const resumes = region.requests.slice(requestsBefore).filter(({ action }) => action === 'ResumeSession');
    t.ok(resumes.length >= transfers.length, `${resumes.length} ResumeSession for ${transfers.length} tunnels`);
    const throttled = resumes.filter(({ error }) => error === 'ThrottlingException');
    // None on a quiet machine; where a call takes long to AWS, the next ones may overtake it.
    t.ok(throttled.length <= transfers.length / 2, `${throttled.length} of them were throttled`);
  });
}

/** The daemon does not run, as on a machine that sleeps; ssh and AWS go on. */
export async function daemonStopped(t: Test, options: OutageOptions): Promise<void> {
  await outage(t, options, async (bench) => {
    const [pid] = bench.daemons();
    kill(pid!, 'SIGSTOP');
    t.teardown(() => kill(pid!, 'SIGCONT'));
    await pause(options.ms);
    kill(pid!, 'SIGCONT');
  });
}

async function outage(
  t: Test,
  { seed, upBytes, downBytes, ms, idle }: OutageOptions,
  strike: (bench: DaemonBench, transfers: Transfer[]) => Promise<void>,
): Promise<void> {
  const bench = await openFaultBench(t, seed, { instances: idle + 2 });
  const freight = new Freight(bench, { upBytes, downBytes });
  const timeoutMs = ms + 180_000;
  const transfers = await openTransfers(
    bench.instances.map((host, at) => ({ bench, freight, direction: at === 1 ? 'up' : 'down', host, timeoutMs })),
  );
  // First the download, which takes seconds.
  for (const transfer of transfers.slice(0, 2)) {
    transfer.begin();
    await transfer.hasReached(0.05);
  }
  t.ok(
    transfers.slice(0, 2).every(({ share }) => share < 1),
    'it strikes in the middle of two transfers',
  );
  await strike(bench, transfers);
  for (const transfer of transfers.slice(2)) transfer.begin();
  await Promise.all(transfers.map((transfer) => transfer.check(t)));
  t.equal(bench.daemons().length, 1);
  await bench.idle();
}

/** The time is what this is about; there is no condition to wait for. */
function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
