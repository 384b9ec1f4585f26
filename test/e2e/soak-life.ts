// One ssh of the soak, from its start to its end or to its being killed: random traffic, every byte of which is compared.
// All choices are drawn from a seed; what the machine does in the meantime is not.
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Random } from '../sim/random.ts';
import type { DaemonBench } from './daemon-bench.ts';
import type { Freight } from './fault-transfer.ts';
import { type Running, until } from './fixture.ts';

const kinds = ['up', 'down', 'talk', 'idle'] as const;

export interface LifePlan {
  kind: (typeof kinds)[number];
  bytes: number;
  /** When and how ssh is killed, from its start; undefined: never. */
  kill: { afterMs: number; signal: NodeJS.Signals } | undefined;
  idleMs: number;
}

export function planLife(random: Random): LifePlan {
  const kind = random.pick(kinds);
  return {
    kind,
    bytes: random.magnitude(kind === 'up' ? 4e6 : 4e5),
    kill: random.chance(0.25)
      ? { afterMs: random.integer(0, 6_000), signal: random.pick(['SIGKILL', 'SIGTERM', 'SIGHUP']) }
      : undefined,
    idleMs: random.integer(0, 6_000),
  };
}

const readyLine = 'ready\n';
const timeoutMs = 180_000;

/** @throws what was wrong with it */
export async function live(bench: DaemonBench, host: string, freight: Freight, plan: LifePlan): Promise<void> {
  const ssh = bench.start('ssh', ['-F', bench.config, host, commandOf(plan, freight)], { input: 'open', timeoutMs });
  const timer = plan.kill && setTimeout(() => ssh.child.kill(plan.kill!.signal), plan.kill.afterMs);
  try {
    await traffic(ssh, freight, plan);
    const { status, stderr } = await ssh.exit;
    if (status !== 0 && !ssh.child.killed) throw new Error(`ssh ended with ${status}: ${stderr}`);
  } catch (error) {
    if (!ssh.child.killed) throw error;
    await ssh.exit;
    checkPrefix(ssh, freight, plan);
  } finally {
    clearTimeout(timer);
  }
}

function commandOf({ kind, bytes }: LifePlan, freight: Freight): string {
  switch (kind) {
    case 'up':
      return 'echo ready; exec sha256sum';
    case 'down':
      return `echo ready; read go; exec head -c ${bytes} "${freight.file}"`;
    case 'talk':
      return 'echo ready; exec cat';
    case 'idle':
      return 'echo ready; read go';
  }
}

async function traffic(ssh: Running, freight: Freight, { kind, bytes, idleMs }: LifePlan): Promise<void> {
  const { stdin } = ssh.child;
  await came(ssh, 0);
  if (kind === 'talk') {
    await talk(ssh, freight.up.subarray(0, bytes));
    return;
  }
  await delay(idleMs);
  if (kind === 'up') stdin.end(freight.up.subarray(0, bytes));
  else stdin.end('go\n');
  await ssh.exit;
  const result = said(ssh);
  const [is, expected] =
    kind === 'up'
      ? [result.toString().slice(0, 64), sha256(freight.up.subarray(0, bytes))]
      : [sha256(result), sha256(freight.down.subarray(0, kind === 'down' ? bytes : 0))];
  if (is !== expected) throw new Error(`wrong bytes: ${result.length} of ${bytes} came back`);
}

/** As a person types: what was said is waited for. */
async function talk(ssh: Running, bytes: Buffer): Promise<void> {
  const parts = 12;
  for (let part = 0; part < parts; part += 1) {
    const [from, to] = [part, part + 1].map((at) => Math.floor((bytes.length * at) / parts));
    ssh.child.stdin.write(bytes.subarray(from, to));
    await came(ssh, to!);
    if (!said(ssh).equals(bytes.subarray(0, to))) throw new Error(`wrong bytes before ${to}`);
  }
  ssh.child.stdin.end();
}

/** What came before ssh was killed is right as far as it goes. */
function checkPrefix(ssh: Running, freight: Freight, { kind }: LifePlan): void {
  const result = said(ssh);
  const source = kind === 'talk' ? freight.up : freight.down;
  if (kind !== 'up' && !result.equals(source.subarray(0, result.length)))
    throw new Error('wrong bytes before the kill');
}

async function came(ssh: Running, bytes: number): Promise<void> {
  const isThere = () => ssh.stdout().length >= readyLine.length + bytes;
  await until(`${bytes} bytes`, () => isThere() || ssh.child.exitCode !== null || ssh.child.killed, timeoutMs);
  if (!isThere()) throw new Error(`ssh is gone before ${bytes} bytes had come: ${ssh.stderr()}`);
}

function said(ssh: Running): Buffer {
  return ssh.stdout().subarray(readyLine.length);
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
