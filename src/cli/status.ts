// `keyhole status`: what the daemon does now.
import { sleep, systemClock } from '../clock.ts';
import { FrameType } from '../control/frame.ts';
import { expectFrame } from '../control/link.ts';
import type { DaemonStatus } from '../daemon/service.ts';
import { findDaemon } from '../helper/connect.ts';
import { usableSshDir } from './own-paths.ts';
import type { VerbContext } from './run.ts';
import { table } from './table.ts';

const watchMs = 1_000;
const clearScreen = '\x1b[H\x1b[J';

export async function status({ json, watch }: { json: boolean; watch: boolean }, context: VerbContext): Promise<void> {
  const { terminal, env, signal } = context;
  for (;;) {
    const found = await fetchStatus(usableSshDir(env), signal);
    const text = json ? JSON.stringify(found ?? null, undefined, watch ? undefined : 2) : describe(found);
    terminal.print(watch && !json ? clearScreen + text : text);
    if (!watch) return;
    await sleep(systemClock, watchMs, signal);
    if (signal.aborted) return;
  }
}

/** Undefined where no daemon runs. */
async function fetchStatus(sshDir: string, signal: AbortSignal): Promise<DaemonStatus | undefined> {
  const found = await findDaemon({ sshDir, clock: systemClock, signal });
  if (found === undefined) return undefined;
  found.link.send(FrameType.status);
  const body = expectFrame(await found.link.receive(), FrameType.statusReply);
  found.link.socket.destroy();
  return body as unknown as DaemonStatus;
}

function describe(status: DaemonStatus | undefined): string {
  if (status === undefined) return 'no daemon is running; the first connection starts one';
  const { version, pid, memoryBytes, draining, tunnels, pushes, leftSessions } = status;
  const lines = [
    `daemon ${version}, pid ${pid}, ${mebibytes(memoryBytes)} MiB, up ${age(status.since)}${draining ? ', draining' : ''}`,
    '',
    ...(tunnels.length === 0 ? ['no tunnels'] : table(tunnelRows(tunnels))),
  ];
  const failed = pushes.filter((push) => push.state === 'failed' && !pushes.some((other) => isLater(other, push)));
  if (failed.length > 0) lines.push('', 'keys that could not be pushed:');
  for (const { target, user, message, at } of failed) {
    lines.push(`  ${user}@${instanceOf(target)}, ${age(at)} ago: ${message}`);
  }
  if (leftSessions.length > 0) lines.push('', 'sessions of a killed daemon that could not be ended:');
  for (const { sessionId, target, region } of leftSessions) lines.push(`  ${sessionId} to ${target} in ${region}`);
  return lines.join('\n');
}

type Push = DaemonStatus['pushes'][number];

/** Whether one push made good what another one, perhaps with other credentials, had failed to do. */
function isLater(one: Push, other: Push): boolean {
  return (
    one.state === 'pushed' &&
    one.at > other.at &&
    one.user === other.user &&
    instanceOf(one.target) === instanceOf(other.target)
  );
}

/** A push's target names its settings too. */
function instanceOf(target: string): string {
  return target.replace(/^.*\//, '');
}

function tunnelRows(tunnels: DaemonStatus['tunnels']): string[][] {
  return [
    ['HOST', 'PORT', 'USER', 'STATE', 'BY', 'AGE', 'SENT', 'RECEIVED', 'RTT', 'RESUMES', 'LEFT', 'CLIENT'],
    ...tunnels.map((tunnel) => [
      tunnel.host,
      tunnel.port,
      tunnel.user ?? '-',
      tunnel.state,
      tunnel.transport ?? '-',
      age(tunnel.since),
      bytes(tunnel.bytesSent),
      bytes(tunnel.bytesReceived),
      tunnel.roundTripMs === undefined ? '-' : `${Math.round(tunnel.roundTripMs)} ms`,
      String(tunnel.resumes),
      tunnel.expiresAt === undefined ? '-' : span(tunnel.expiresAt - Date.now()),
      String(tunnel.clientPid),
    ]),
  ];
}

function mebibytes(count: number): string {
  return (count / 2 ** 20).toFixed(0);
}

function bytes(count: number): string {
  for (const [unit, size] of [
    ['GB', 1e9],
    ['MB', 1e6],
    ['kB', 1e3],
  ] as const) {
    if (count >= size) return `${(count / size).toFixed(1)} ${unit}`;
  }
  return `${count} B`;
}

function age(since: number): string {
  return span(Date.now() - since);
}

function span(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}
