// `keyhole status`: what the daemon does now.
import { sleep, systemClock } from '../clock.ts';
import { FrameType } from '../control/frame.ts';
import { expectFrame } from '../control/link.ts';
import type { DaemonStatus } from '../daemon/service.ts';
import { findDaemon } from '../helper/connect.ts';
import { showBytes, showSpan } from './amounts.ts';
import { usableSshDir } from './own-paths.ts';
import { Rates } from './rates.ts';
import type { VerbContext } from './run.ts';
import { table } from './table.ts';

const watchMs = 1_000;
const clearScreen = '\x1b[H\x1b[J';

export async function status({ json, watch }: { json: boolean; watch: boolean }, context: VerbContext): Promise<void> {
  const { terminal, env, signal } = context;
  const rates = watch ? new Rates() : undefined;
  for (;;) {
    const found = await fetchStatus(usableSshDir(env), signal);
    const text = json ? JSON.stringify(found ?? null, undefined, watch ? undefined : 2) : describe(found, rates);
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

function describe(status: DaemonStatus | undefined, rates: Rates | undefined): string {
  if (status === undefined) return 'no daemon is running; the first connection starts one';
  const { version, pid, memoryBytes, draining, tunnels, forwards, pushes, leftSessions } = status;
  const lines = [
    `daemon ${version}, pid ${pid}, ${mebibytes(memoryBytes)} MiB, up ${age(status.since)}${draining ? ', draining' : ''}`,
    '',
    ...(tunnels.length === 0 ? ['no tunnels'] : table(tunnelRows(tunnels, rates))),
  ];
  const apart = new Map(tunnels.filter(({ transport }) => transport === 'eice').map((tunnel) => [tunnel.host, tunnel]));
  if (apart.size > 0) lines.push('', 'by EC2 Instance Connect Endpoint (eice), because:');
  for (const [host, { chosenBecause = '-' }] of apart) lines.push(`  ${host}: ${chosenBecause}`);
  if (forwards.length > 0) lines.push('', ...table(forwardRows(forwards, rates)));
  const cut = tunnels.filter(({ state }) => state === 'resuming');
  if (cut.length > 0) lines.push('', 'connections that were cut and are being taken up again:');
  for (const { host, interrupted } of cut) lines.push(...interruption(host, interrupted));
  const failed = pushes.filter((push) => push.state === 'failed' && !pushes.some((other) => isLater(other, push)));
  if (failed.length > 0) lines.push('', 'keys that could not be pushed:');
  for (const { target, user, message, at } of failed) {
    lines.push(`  ${user}@${instanceOf(target)}, ${age(at)} ago: ${message}`);
  }
  if (leftSessions.length > 0) lines.push('', 'sessions of a killed daemon that could not be ended:');
  for (const { sessionId, target, region } of leftSessions) lines.push(`  ${sessionId} to ${target} in ${region}`);
  return lines.join('\n');
}

function interruption(host: string, interrupted: DaemonStatus['tunnels'][number]['interrupted']): string[] {
  if (interrupted === undefined) return [];
  const { since, message, hint } = interrupted;
  return [
    `  ${host}, for ${age(since)}${message === undefined ? '' : `: ${message}`}`,
    ...(hint === undefined ? [] : [`    hint: ${hint}`]),
  ];
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

function tunnelRows(tunnels: DaemonStatus['tunnels'], rates: Rates | undefined): string[][] {
  return [
    [
      'HOST',
      'PORT',
      'USER',
      'STATE',
      'BY',
      'AGE',
      'SENT',
      'RECEIVED',
      ...rateHeading(rates),
      'RTT',
      'RESUMES',
      'LEFT',
      'CLIENT',
    ],
    ...tunnels.map((tunnel) => [
      tunnel.host,
      tunnel.port,
      tunnel.user ?? '-',
      tunnel.state,
      tunnel.transport ?? '-',
      age(tunnel.since),
      showBytes(tunnel.bytesSent),
      showBytes(tunnel.bytesReceived),
      ...rateCells(rates, `tunnel ${tunnel.id}`, tunnel),
      tunnel.roundTripMs === undefined ? '-' : `${Math.round(tunnel.roundTripMs)} ms`,
      String(tunnel.resumes),
      tunnel.expiresAt === undefined ? '-' : showSpan(tunnel.expiresAt - Date.now()),
      String(tunnel.clientPid),
    ]),
  ];
}

function forwardRows(forwards: DaemonStatus['forwards'], rates: Rates | undefined): string[][] {
  return [
    [
      'FORWARD',
      'LOCAL',
      'TO',
      'OPEN',
      'IN ALL',
      'SENT',
      'RECEIVED',
      ...rateHeading(rates),
      'RTT',
      'RESUMES',
      'SESSIONS',
    ],
    ...forwards.flatMap(({ id, name, host, ends }) =>
      ends.map((end) => {
        const roundTrips = end.sessions.flatMap(({ roundTripMs }) => (roundTripMs === undefined ? [] : [roundTripMs]));
        return [
          name ?? '-',
          end.local,
          `${end.remoteHost === undefined ? '' : `${end.remoteHost} by `}${host}:${end.remotePort}`,
          String(end.connections),
          String(end.connectionsInAll),
          showBytes(end.bytesSent),
          showBytes(end.bytesReceived),
          ...rateCells(rates, `forward ${id} ${end.local}`, end),
          roundTrips.length === 0 ? '-' : `${Math.round(Math.min(...roundTrips))} ms`,
          String(end.sessions.reduce((sum, { resumes }) => sum + resumes, 0)),
          String(end.sessions.length + end.separate),
        ];
      }),
    ),
  ];
}

function rateHeading(rates: Rates | undefined): string[] {
  return rates === undefined ? [] : ['SENT/S', 'RECEIVED/S'];
}

function rateCells(
  rates: Rates | undefined,
  name: string,
  counts: { bytesSent: number; bytesReceived: number },
): string[] {
  if (rates === undefined) return [];
  const rate = rates.of(name, counts, performance.now());
  return rate === undefined ? ['-', '-'] : [showBytes(rate.sent), showBytes(rate.received)];
}

function mebibytes(count: number): string {
  return (count / 2 ** 20).toFixed(0);
}

function age(since: number): string {
  return showSpan(Date.now() - since);
}
