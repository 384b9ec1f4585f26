// EC2 Instance Connect Endpoint from end to end (issue 4): real ssh, scp, sftp and rsync through the daemon and an endpoint
// of the region, to an instance without SSM agent; how tunnels end; and AWS's documented policies.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import t, { type Test } from 'tap';
import type { RegionOptions } from '../region/options.ts';
import { type DaemonBench, type DaemonBenchOptions, openDaemonBench, works } from './daemon-bench.ts';
import { keyhole, leaveAfterBanner, patience, type Running, until } from './fixture.ts';
import { copy, makeFile, sha256, tools } from './transfer.ts';

const endpointId = 'eice-0123456789abcdef0';
const arn = `arn:aws:ec2:eu-west-1:111122223333:instance-connect-endpoint/${endpointId}`;
/** From the end of the one side to that of the other (issue 4). */
const endedWithinMs = 1_000 * patience;

/** An instance that only an endpoint reaches. */
async function openEiceBench(t: Test, { region, ...options }: DaemonBenchOptions = {}): Promise<DaemonBench> {
  return await openDaemonBench(t, {
    node: { online: false },
    region: { endpoints: [{ endpointId }], ...region },
    ...options,
  });
}

const actionsOf = (bench: DaemonBench) => bench.region.requests.map(({ action }) => action);

t.test('ssh, scp, sftp, cat and rsync carry equal bytes both ways', async (t) => {
  const bench = await openEiceBench(t, { region: { tls: true } });
  t.match(await bench.works(), works);
  t.strictSame(
    actionsOf(bench).filter((action) => action !== 'SendSSHPublicKey'),
    ['StartSession', 'DescribeInstances', 'DescribeInstanceConnectEndpoints', 'OpenTunnel'],
    'SSM was asked, and refused',
  );
  const file = makeFile(bench, 'file', 5_000_000);
  const sum = await sha256(file);
  for (const direction of ['up', 'down'] as const) {
    for (const tool of tools) {
      const to = bench.path(`${tool}.${direction}`);
      const { status, stderr } = await copy(bench, { tool, direction, from: file, to, timeoutMs: 60_000 });
      t.strictSame({ status, stderr }, { status: 0, stderr: '' }, `${tool} ${direction}`);
      t.equal(await sha256(to), sum, `${tool} ${direction}: equal checksums`);
    }
  }
  t.equal(actionsOf(bench).filter((action) => action === 'StartSession').length, 1, 'SSM was asked once');
  t.equal(actionsOf(bench).filter((action) => action === 'DescribeInstances').length, 1);
  t.equal(bench.region.sessions.length, 0);
  t.strictSame(
    [...new Set(bench.region.tunnels.map(({ errors }) => errors.join()))],
    [''],
    'the endpoint has no complaint',
  );
  t.match(bench.region.tunnels[0], { maxTunnelDuration: 3600, remotePort: 22, privateIpAddress: '10.0.1.23' });
});

t.test('without the daemon too', async (t) => {
  const bench = await openEiceBench(t);
  const proxy = bench.startProxy([bench.instances[0]!, '22'], { input: 'open', env: { KEYHOLE_TRANSPORT: 'eice' } });
  t.match(await leaveAfterBanner(proxy), { status: 0, text: /^SSH-2\.0-/, stderr: '' });
  t.strictSame(actionsOf(bench), ['DescribeInstances', 'DescribeInstanceConnectEndpoints', 'OpenTunnel']);
});

t.test('stdin that ends, and a target that closes, end all of it within a second', async (t) => {
  const bench = await openEiceBench(t, { env: { KEYHOLE_TRANSPORT: 'eice' } });
  const ends: [string, (proxy: Running) => void, RegExp][] = [
    ['client', ({ child }) => child.stdin.end(), /^SSH-2\.0-/],
    ['target', ({ child }) => child.stdin.write('this is no SSH\r\n'), /^SSH-2\.0-[\s\S]*nvalid SSH identification/],
  ];
  for (const [endedBy, end, says] of ends) {
    const operands = ['proxy', '--no-daemon', '--', bench.instances[0]!, '22'];
    const proxy = bench.start(keyhole, operands, { input: 'open' });
    await until('the target talks', () => proxy.stdout().includes('SSH-2.0-'), 20_000, proxy.stderr);
    const start = performance.now();
    end(proxy);
    await until('the tunnel is gone', () => tunnelEnded(bench), endedWithinMs);
    t.match(await proxy.exit, { status: 0, text: says, stderr: '' });
    t.ok(performance.now() - start < endedWithinMs, `${endedBy}: after ${Math.round(performance.now() - start)} ms`);
    t.match(bench.region.tunnels.at(-1), { endedBy });
  }
});

t.test('a clock that is wrong by ten minutes', async (t) => {
  const bench = await openEiceBench(t, { region: { clockOffsetMs: 600_000 }, env: { KEYHOLE_TRANSPORT: 'eice' } });
  t.match(await bench.works(), works);
  const statuses = bench.region.requests.filter(({ action }) => action === 'OpenTunnel').map(({ status }) => status);
  t.strictSame(statuses, [403, 101], 'the endpoint’s own refusal told the time');
});

t.test('status tells by which way, and how long it lasts', async (t) => {
  const bench = await openEiceBench(t);
  const ssh = await startSsh(bench, 'echo started; exec sleep 600');
  const [tunnel] = (await bench.status())!.tunnels;
  const chosenBecause = /^i-0123456789abcdef0 is not connected to Systems Manager/;
  t.match(tunnel, { transport: 'eice', chosenBecause, state: 'open', sessionId: undefined });
  t.ok(Math.abs(tunnel!.expiresAt! - Date.now() - 3_600_000) < 60_000);
  t.match(
    (await bench.keyhole(['status'])).text,
    /LEFT[\s\S]* eice [\s\S]* (59 min|1 h 0 min) [\s\S]*because:\n {2}i-\w+: i-\w+ is not connected/,
  );
  ssh.child.kill('SIGKILL');
  await bench.idle();
});

async function startSsh(bench: DaemonBench, command: string, env: Record<string, string> = {}): Promise<Running> {
  const ssh = bench.start('ssh', ['-F', bench.config, bench.instances[0]!, command], { input: 'open', env });
  await until('ssh talks', () => ssh.stdout().includes('started'), 20_000, ssh.stderr);
  return ssh;
}

const tunnelEnded = (bench: DaemonBench) => bench.region.tunnels.every(({ endedAt }) => endedAt !== undefined);

/** Downloads go on at 1 MB/s: as fast as they can, they take all of a small machine from what is waited for. */
const doings = {
  idle: 'echo started; exec sleep 600',
  downloading: 'echo started; while dd if=/dev/zero bs=64k count=1 2>/dev/null; do sleep 0.05; done',
  uploading: 'echo started; exec cat >/dev/null',
};

for (const [doing, command] of Object.entries(doings)) {
  t.test(`${doing}: whoever ends, the others have within a second, and the daemon rests`, async (t) => {
    const bench = await openEiceBench(t);
    const cases: [string, (ssh: Running) => void, { code: string } | undefined][] = [
      ['ssh is killed', (ssh) => ssh.child.kill('SIGKILL'), undefined],
      ['the endpoint loses the target', () => bench.region.cutTunnel({ by: 'reset' }), { code: 'connection-lost' }],
      [
        'the endpoint closes the tunnel',
        () => bench.region.cutTunnel({ by: 'close', code: 4000, reason: 'Endpoint is being deleted' }),
        { code: 'eice-closed' },
      ],
    ];
    for (const [name, end, failure] of cases) {
      const ssh = await startSsh(bench, command);
      if (doing === 'uploading') feed(ssh);
      const before = (await bench.failures()).length;
      const start = performance.now();
      end(ssh);
      await until(`${name}: the tunnel is gone`, () => tunnelEnded(bench), endedWithinMs);
      await ssh.exit;
      t.ok(
        performance.now() - start < endedWithinMs,
        `${name}: ssh is gone after ${Math.round(performance.now() - start)} ms`,
      );
      await until('no tunnel is left', async () => (await bench.status())!.tunnels.length === 0, endedWithinMs);
      const recorded = (await bench.failures()).slice(before);
      t.match(recorded, failure === undefined ? [] : [failure], name);
    }
    await rests(t, bench);
  });

  t.test(`${doing}: a tunnel whose time is over`, async (t) => {
    const bench = await openEiceBench(t);
    const ssh = await startSsh(bench, command, { KEYHOLE_MAX_TUNNEL_DURATION: '2s' });
    if (doing === 'uploading') feed(ssh);
    await until('the endpoint ends it', () => tunnelEnded(bench), 5_000);
    const start = performance.now();
    const { status } = await ssh.exit;
    t.equal(status, 255);
    t.ok(performance.now() - start < endedWithinMs, `ssh is gone after ${Math.round(performance.now() - start)} ms`);
    t.match(bench.region.tunnels, [{ maxTunnelDuration: 2, endedBy: 'expired' }]);
    t.match(await bench.failures(), [
      { code: 'eice-expired', message: /has reached its 2s$/, hint: /max_tunnel_duration/ },
    ]);
    await bench.idle();
    await rests(t, bench);
  });
}

/** Bytes without end, as fast as ssh takes them. */
function feed({ child }: Running): void {
  const more = () => {
    while (child.stdin.writable && child.stdin.write(Buffer.alloc(65_536)));
  };
  child.stdin.on('drain', more);
  more();
}

/** Nothing spins: the daemon uses next to no processor time. */
async function rests(t: Test, bench: DaemonBench): Promise<void> {
  const [pid] = bench.daemons();
  const ticks = () => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(fields[11]) + Number(fields[12]);
  };
  const before = ticks();
  const start = performance.now();
  await until('half a second has passed', () => performance.now() - start > 500);
  t.ok(ticks() - before <= 10, `${ticks() - before} ticks of 10 ms`);
}

const policy = (name: string) =>
  JSON.parse(readFileSync(resolve(import.meta.dirname, `../region/iam/policies/${name}.json`), 'utf8'));
const denied = (user: string) => ({ accessKeyId: 'AKIAPOLICYTESTREGION', secretAccessKey: 'simulated', arn: user });

interface PolicyRow {
  name: string;
  policies: string[];
  region?: RegionOptions;
  node?: DaemonBenchOptions['node'];
  env?: Record<string, string>;
  user?: string;
  /** Undefined: it works. */
  says?: RegExp;
}

const refusal = (conditions: string) =>
  new RegExp(
    `AWS denies ec2-instance-connect:OpenTunnel on ${arn} \\(${conditions}\\)[^\\n]*\\nkeyhole: hint: its policy must allow ec2-instance-connect:OpenTunnel`,
  );

const rows: PolicyRow[] = [
  { name: 'OpenTunnel for Linux: port 22, two addresses, an hour', policies: ['open-tunnel-linux'] },
  {
    name: 'another address',
    policies: ['open-tunnel-linux'],
    node: { ipAddress: '10.0.1.24' },
    says: refusal('remotePort 22, privateIpAddress 10.0.1.24, maxTunnelDuration 3600'),
  },
  {
    name: 'another port',
    policies: ['open-tunnel-windows'],
    says: refusal('remotePort 22, privateIpAddress 10.0.1.23, maxTunnelDuration 3600'),
  },
  {
    name: 'the address range of the caller',
    policies: ['open-tunnel-source-range'],
    region: { sourceIp: '192.0.2.9' },
  },
  {
    name: 'a caller from elsewhere',
    policies: ['open-tunnel-source-range'],
    region: { sourceIp: '198.51.100.9' },
    says: refusal('remotePort 22, privateIpAddress 10.0.1.23, maxTunnelDuration 3600'),
  },
];

for (const { name, policies, region, node, says, env } of rows) {
  t.test(`policies: ${name} is ${says === undefined ? 'allowed' : 'denied'}`, async (t) => {
    const key = { ...denied('arn:aws:iam::111122223333:user/bob'), policies: policies.map(policy) };
    const bench = await openEiceBench(t, {
      region: { accessKeys: [key], ...region },
      node: { online: false, ...node },
      env: { KEYHOLE_TRANSPORT: 'eice', ...env },
    });
    const proxy = bench.startProxy([bench.instances[0]!, '22'], { input: 'open' });
    const expected =
      says === undefined ? { status: 0, text: /^SSH-2\.0-/, stderr: '' } : { status: 1, text: '', stderr: says };
    t.match(await leaveAfterBanner(proxy), expected);
  });
}

t.test('a shorter duration meets a policy that caps it, and is denied without', async (t) => {
  const capped = policy('open-tunnel-linux');
  capped.Statement[0].Condition.NumericLessThanEquals['ec2-instance-connect:maxTunnelDuration'] = '600';
  const key = { ...denied('arn:aws:iam::111122223333:user/bob'), policies: [capped] };
  const bench = await openEiceBench(t, { region: { accessKeys: [key] }, env: { KEYHOLE_TRANSPORT: 'eice' } });
  const operands = [bench.instances[0]!, '22'];
  const refused = await bench.proxy(operands, { input: 'open' });
  t.match(refused.stderr, refusal('remotePort 22, privateIpAddress 10.0.1.23, maxTunnelDuration 3600'));
  const proxy = bench.startProxy(operands, { input: 'open', env: { KEYHOLE_MAX_TUNNEL_DURATION: '10m' } });
  t.match(await leaveAfterBanner(proxy), { status: 0, text: /^SSH-2\.0-/, stderr: '' });
});

t.test(
  'SendSSHPublicKey denied for the user: ssh has no key, and `why` names the action and the resource',
  async (t) => {
    // The policy allows the key of ec2-user only.
    const key = { ...denied('arn:aws:iam::111122223333:user/bob'), policies: [policy('open-tunnel-linux')] };
    const bench = await openEiceBench(t, { region: { accessKeys: [key] } });
    const result = await bench.works();
    t.match(result, { status: 255, stderr: /Permission denied/ });
    t.match(await bench.failures(), [
      {
        code: /^access-denied/,
        message: /ec2-instance-connect:SendSSHPublicKey on i-0123456789abcdef0 \(ec2:osuser [^)]+\)/,
      },
    ]);
  },
);

t.test('refusals have both reasons', async (t) => {
  const bench = await openEiceBench(t, {
    region: { endpoints: [{ endpointId, maxConnections: 1 }] },
    env: { KEYHOLE_WAIT: '0' },
  });
  const line = async () => (await bench.keyhole(['proxy', '--', bench.instances[0]!, '22'], { input: 'open' })).stderr;
  const ssh = await startSsh(bench, doings.idle);
  t.match(
    await line(),
    /^keyhole: endpoint eice-0123456789abcdef0 takes no further connection: .*; the other way is closed too: i-0123456789abcdef0 is not connected.*\nkeyhole: hint: .*20 at once/,
  );
  ssh.child.kill('SIGKILL');
  await bench.idle();
  bench.region.endpoints.get(endpointId)!.vpcId = 'vpc-00000000000000000';
  t.match(
    await line(),
    /^keyhole: i-0123456789abcdef0 is not connected.*; the other way is closed too: there is no EC2 Instance Connect Endpoint in vpc-0123456789abcdef0/,
  );
  bench.region.nodes.get(bench.instances[0]!)!.state = 'stopped';
  t.match(await line(), /^keyhole: i-0123456789abcdef0 is stopped\nkeyhole: hint: aws ec2 start-instances/);
});

t.test('a target that the endpoint cannot reach', async (t) => {
  const bench = await openEiceBench(t, {
    region: { endpoints: [{ endpointId, egress: false }], eice: { connectTimeoutMs: 300 } },
    env: { KEYHOLE_WAIT: '0' },
  });
  const { stderr } = await bench.keyhole(['proxy', '--', bench.instances[0]!, '22'], { input: 'open' });
  t.match(stderr, /^keyhole: endpoint eice-0123456789abcdef0 cannot connect to 10\.0\.1\.23 port 22; the other way/);
});

t.test('an agent that comes back is used as soon as the endpoint fails', async (t) => {
  const bench = await openEiceBench(t);
  t.match(await bench.works(), works);
  bench.region.nodes.get(bench.instances[0]!)!.online = true;
  t.match(await bench.works(), works);
  t.equal(bench.region.sessions.length, 0, 'the endpoint works');
  bench.region.endpoints.get(endpointId)!.maxConnections = 0;
  t.match(await bench.works(), works);
  t.equal(bench.region.sessions.length, 1);
});
