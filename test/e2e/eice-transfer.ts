// scripts/transfer --eice, whose comment is its manual.
import t from 'tap';
import { type DaemonBench, makeKey, openDaemonBench } from './daemon-bench.ts';
import { instanceId, type Result } from './fixture.ts';
import { copy, type Direction, makeFile, sha256 } from './transfer.ts';

const megabytes = Number(process.env.TRANSFER_MEGABYTES || 200);
const timeoutMs = 60_000 + megabytes * 1_000;
const tools = ['ssh', 'scp', 'sftp', 'rsync'] as const;

t.test(`${megabytes} MB both ways through an endpoint, beside ssh over TCP`, async (t) => {
  const key = makeKey(t);
  const bench = await openDaemonBench(t, {
    node: { online: false },
    region: { endpoints: [{ endpointId: 'eice-0123456789abcdef0' }] },
    authorizedKeys: [key.publicLine],
  });
  const login = [`IdentityFile ${key.file}`, 'IdentityAgent none'];
  const tcp = [`HostName ${bench.sshd.host}`, `Port ${bench.sshd.port}`, `HostKeyAlias ${instanceId}`];
  const ways = { eice: login, direct: [...login, ...tcp, 'ProxyCommand none', 'ProxyUseFdpass no'] };
  const from = makeFile(bench, 'file', megabytes * 1e6);
  const sum = await sha256(from);
  for (const direction of ['up', 'down'] as const) {
    for (const tool of tools) {
      const rates: Record<string, number> = {};
      for (const [way, lines] of Object.entries(ways)) {
        bench.configure({ lines });
        const to = bench.path('copy');
        const start = performance.now();
        const { status, stderr } = await move(bench, { tool, direction, from, to });
        rates[way] = megabytes / ((performance.now() - start) / 1_000);
        t.strictSame({ status, stderr }, { status: 0, stderr: '' }, `${tool} ${direction}, ${way}`);
        t.equal(await sha256(to), sum, 'equal checksums');
      }
      const { eice = 0, direct = 0 } = rates;
      t.comment(
        `${tool} ${direction}: ${eice.toFixed(0)} MB/s, direct ${direct.toFixed(0)} MB/s, ${(eice / direct).toFixed(2)}`,
      );
    }
  }
  t.equal(bench.region.sessions.length, 0, 'through the endpoint alone');
  t.strictSame([...new Set(bench.region.tunnels.flatMap(({ errors }) => errors))], [], 'which has no complaint');
});

interface Move {
  tool: (typeof tools)[number];
  direction: Direction;
  from: string;
  to: string;
}

async function move(bench: DaemonBench, { tool, direction, from, to }: Move): Promise<Result> {
  if (tool !== 'ssh') return await copy(bench, { tool, direction, from, to, timeoutMs });
  // By the shell: this process is the region, and has enough to do.
  const [there, here] = direction === 'up' ? [`cat >'${to}'`, `<'${from}'`] : [`cat '${from}'`, `>'${to}'`];
  return await bench.run('sh', ['-c', `ssh -F '${bench.config}' ${instanceId} "${there}" ${here}`], { timeoutMs });
}
