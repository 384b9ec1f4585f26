// Bulk bytes through ssh, each way: the rate, the processor time of whatever carries them, and the memory and number of
// those processes. Connecting is not part of it: the clock starts when the other side has said that it is there. The processor
// time is that of what follows a run-in, a quarter of all: what a process moves first (20 MB up, 2 MB down) costs it up to twice what
// the rest does, since its code is compiled meanwhile, and what is told is the cost of a GB. That the bytes are the same at the other end is checked apart, since a digest
// costs as much as what is measured.
import { randomBytes } from 'node:crypto';
import { interleave, type Measure } from '../measure.ts';
import { cpuMs, forgetPeak, peakMegabytes } from '../processes.ts';
import { openSsh, type SshSession } from '../ssh.ts';
import type { Subject } from '../subject.ts';

const chunk = Buffer.alloc(64 * 1024);
const probeBytes = 1_000_000;
/** Below this rate a large transfer would only take long. */
const slowBytesPerSecond = 3_000_000;
const slowBytes = 3_000_000;
const quickBytes = 50_000_000;
const fullBytes = 100_000_000;
const slowDownloadBytes = { quick: 3_000_000, full: 8_000_000 };
const timeoutMs = 120_000;

export const transfer: Measure = {
  name: 'transfer',
  about: 'upload and download: rate, CPU per GB, peak memory and processes per connection',
  quick: true,
  async run({ subjects, runs, isQuick, say }) {
    const steady = subjects.filter(({ isCold }) => !isCold);
    const rounds = isQuick ? 2 : Math.max(3, Math.ceil(runs / 5));
    const fast = isQuick ? quickBytes : fullBytes;
    const up = await interleave(steady, rounds, sized(upload, slowBytes, fast), say);
    const slow = isQuick ? slowDownloadBytes.quick : slowDownloadBytes.full;
    const down = await interleave(steady, isQuick ? 1 : rounds, sized(download, slow, fast), say);
    await interleave(steady, 1, checkedEcho, say);
    const carried = (run: typeof up, key: string) => {
      const { direct: _, ...rest } = run.series(key); // nothing stands between ssh and sshd
      return rest;
    };
    const rate = { unit: 'MB/s', better: 'higher' } as const;
    const cpu = { unit: 's/GB', better: 'lower' } as const;
    const failures = up.failures;
    return [
      { ...rate, name: 'upload.rate', title: 'upload', series: up.series('megabytesPerSecond'), failures },
      { ...cpu, name: 'upload.cpu', title: 'CPU per GB, upload, after a run-in', series: carried(up, 'cpu') },
      {
        ...rate,
        name: 'download.rate',
        title: 'download',
        series: down.series('megabytesPerSecond'),
        failures: down.failures,
      },
      { ...cpu, name: 'download.cpu', title: 'CPU per GB, download, after a run-in', series: carried(down, 'cpu') },
      {
        name: 'memory.peak',
        title: 'peak memory of what carries one connection (a daemon counted whole)',
        unit: 'MB',
        better: 'lower',
        series: carried(up, 'peak'),
      },
      {
        name: 'processes',
        title: 'processes of each connection, besides ssh',
        unit: '',
        better: 'lower',
        series: carried(up, 'processes'),
      },
    ];
  },
};

/** Of so many bytes in all. */
const runIn = (bytes: number) => Math.ceil(bytes / 4);

type Move = (subject: Subject, bytes: number) => Promise<Record<string, number>>;

/** As many bytes as suit the rate that the first of each subject found. */
function sized(move: Move, slow: number, fast: number): (subject: Subject) => Promise<Record<string, number>> {
  const sizes = new Map<string, number>();
  return async (subject) => {
    if (!sizes.has(subject.name)) {
      const { megabytesPerSecond } = await move(subject, probeBytes);
      sizes.set(subject.name, megabytesPerSecond! * 1e6 < slowBytesPerSecond ? slow : fast);
    }
    return await move(subject, sizes.get(subject.name)!);
  };
}

/** `head` may read further than it says: no more is sent before it has ended. */
async function upload(subject: Subject, bytes: number): Promise<Record<string, number>> {
  const takes = (size: number, mark: string) => `head -c ${size} >/dev/null; printf ${mark}`;
  const session = openSsh(subject, [
    `printf r; ${takes(runIn(bytes), 'i')}; ${takes(bytes - runIn(bytes), 'd')}; cat >/dev/null`,
  ]);
  return await measure(subject, session, bytes, async (size) => {
    for (let left = size; left > 0; left -= chunk.length) {
      const isFull = !session.child.stdin.write(left < chunk.length ? chunk.subarray(0, left) : chunk);
      if (isFull) await drained(session);
    }
    await session.receive(1, timeoutMs);
  });
}

async function download(subject: Subject, bytes: number): Promise<Record<string, number>> {
  const gives = (size: number) => `head -c 1 >/dev/null; head -c ${size} /dev/zero`;
  const session = openSsh(subject, [
    `printf r; ${gives(runIn(bytes))}; ${gives(bytes - runIn(bytes))}; cat >/dev/null`,
  ]);
  return await measure(subject, session, bytes, async (size) => {
    session.write(Uint8Array.of(0));
    await session.receive(size, timeoutMs);
  });
}

/** There and back. @throws where what comes is not what went */
async function checkedEcho(subject: Subject): Promise<Record<string, number>> {
  const session = openSsh(subject, [`head -c ${slowBytes}; cat >/dev/null`]);
  try {
    const sent = randomBytes(slowBytes);
    const parts: Buffer[] = [];
    session.child.stdout.on('data', (part: Buffer) => parts.push(part));
    session.write(sent);
    await session.receive(slowBytes, timeoutMs);
    if (!Buffer.concat(parts).equals(sent)) throw new Error(`${subject.name}: other bytes came back than went`);
    return {};
  } finally {
    await session.close();
  }
}

async function measure(
  subject: Subject,
  session: SshSession,
  bytes: number,
  move: (size: number) => Promise<void>,
): Promise<Record<string, number>> {
  try {
    await session.receive(1);
    const helpers = session.helpers;
    const carriers = [...helpers, ...subject.sharedProcesses()];
    carriers.forEach(forgetPeak);
    const startedAt = performance.now();
    await move(runIn(bytes));
    const cpuBefore = cpuMs(carriers);
    const measured = bytes - runIn(bytes);
    await move(measured);
    const seconds = (performance.now() - startedAt) / 1000;
    return {
      megabytesPerSecond: bytes / 1e6 / seconds,
      cpu: (cpuMs(carriers) - cpuBefore) / 1000 / (measured / 1e9),
      peak: carriers.reduce((sum, pid) => sum + peakMegabytes(pid), 0),
      processes: helpers.length,
    };
  } finally {
    await session.close();
  }
}

function drained({ child, exited }: SshSession): Promise<unknown> {
  return Promise.race([new Promise<void>((resolve) => child.stdin.once('drain', resolve)), exited]);
}
