// Hosts by any name (issue 6): Name tags, regions, profiles and names of the user's own, with real ssh. The regions record who
// called them.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Region, startRegion } from '../region/region.ts';
import { type DaemonBench, type DaemonBenchOptions, openDaemonBench, works } from './daemon-bench.ts';
import type { Result } from './fixture.ts';

/** Any name goes to keyhole, and is the instances' in known_hosts. */
async function openHostBench(t: Test, options: DaemonBenchOptions = {}): Promise<DaemonBench> {
  const bench = await openDaemonBench(t, options);
  writeFileSync(bench.config, readFileSync(bench.config, 'utf8').replace('Host i-* mi-*', 'Host *'));
  writeFileSync(bench.path('known_hosts'), bench.sshd.hostKeys.map((hostKey) => `* ${hostKey}\n`).join(''));
  return bench;
}

/** Without what the login shells of this machine say when many start at once. */
function ofKeyhole({ status, text, stderr }: Result): Pick<Result, 'status' | 'text' | 'stderr'> {
  return { status, text, stderr: stderr.replace(/^(?!keyhole: ).*\n/gm, '') };
}

function writeConfig(bench: DaemonBench, text: string): string {
  const folder = join(bench.home, '.config/keyhole');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'config.toml'), text);
  return join(folder, 'config.toml');
}

function actionsOf({ requests }: Region): string[] {
  return requests.map(({ action }) => action ?? '');
}

t.test('by Name tag: one is found, several are listed, none has near misses', async (t) => {
  const bench = await openHostBench(t, { instances: 4 });
  const [one, two, three, four] = bench.instances.map((id) => bench.region.nodes.get(id)!);
  one!.tags = { Name: 'Web-1' };
  two!.tags = { Name: 'twin' };
  three!.tags = { Name: 'twin' };
  four!.tags = { Name: 'evil\x1b]0;x\x07 $(id)', Other: 'web-2' };
  const parallel = await Promise.all(Array.from({ length: 5 }, () => bench.works({}, [], 'web-1.ec2')));
  for (const result of parallel) t.match(ofKeyhole(result), works);
  t.equal(
    actionsOf(bench.region).filter((action) => action === 'DescribeInstances').length,
    2,
    'as written, in any case',
  );
  t.strictSame([...new Set(bench.region.sessions.map(({ target }) => target))], [one!.instanceId]);
  t.strictSame([...new Set(bench.region.pushes.map(({ instanceId }) => instanceId))], [one!.instanceId]);
  t.match(await bench.works({}, [], 'web-1.eu-west-1.ec2'), works);

  const several = await bench.works({}, [], 'twin.ec2');
  t.match(several, {
    status: 255,
    stderr: /^keyhole: 2 instances in eu-west-1 have the name twin: i-.*; i-.*\nkeyhole: hint: /,
  });
  for (const { instanceId } of [two!, three!])
    t.match(several.stderr, `${instanceId} (eu-west-1a, running, launched 2`);
  const none = await bench.works({}, [], 'web-2.ec2');
  t.match(none, {
    status: 255,
    stderr: /no running instance in eu-west-1 has the name web-2\nkeyhole: hint: did you mean Web-1\.ec2\?/,
  });
  t.notMatch(none.stderr, /[^\x20-\x7e\r\n]/);
  t.match(
    (await bench.failures()).map(({ code }) => code),
    ['name-ambiguous', 'name-unknown'],
  );

  // The name moves on to another instance: a connection that fails is the last that the old one gets.
  Object.assign(one!, { state: 'terminated' });
  two!.tags = { Name: 'Web-1' };
  t.match(await bench.works({ env: { KEYHOLE_TRANSPORT: 'ssm' } }, [], 'web-1.ec2'), { status: 255 });
  t.match(await bench.works({}, [], 'web-1.ec2'), works);
  t.equal(bench.region.sessions.at(-1)!.target, two!.instanceId);
});

t.test('two regions and two profiles in parallel: each call goes to the right one', async (t) => {
  const bench = await openHostBench(t, { region: { account: '111111111111' } });
  const id = bench.instances[0]!;
  const key = { accessKeyId: 'AKIAPRODPRODPRODPROD', secretAccessKey: 'secret/of/prod' };
  const central = await startRegion({
    region: 'eu-central-1',
    account: '222222222222',
    accessKeys: [key],
    nodes: [{ ...bench.sshd.node(id), tags: { Name: 'web-1' } }],
  });
  t.teardown(() => central.stop());
  bench.region.nodes.get(id)!.tags = { Name: 'web-1' };
  const west = { accessKeyId: bench.env.AWS_ACCESS_KEY_ID!, secretAccessKey: bench.env.AWS_SECRET_ACCESS_KEY! };
  // As any AWS tool has it: the endpoint is the profile's. The signature names the region, and each region looks at it.
  const profile = (name: string, endpoint: string, { accessKeyId, secretAccessKey }: typeof key) =>
    `[profile ${name}]\nendpoint_url = ${endpoint}\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}\n`;
  mkdirSync(join(bench.home, '.aws'));
  writeFileSync(
    join(bench.home, '.aws/config'),
    profile('Prod', central.endpoint, key) + profile('dev', bench.region.endpoint, west),
  );
  for (const name of Object.keys(bench.env)) {
    if (name.startsWith('AWS_') && name !== 'AWS_EC2_METADATA_DISABLED') delete bench.env[name];
  }
  writeConfig(bench, '[host."*.ec2 !*.prod.ec2"]\nprofile = "dev"\nregion = "eu-west-1"\n');

  const hosts = [`${id}.eu-central-1.prod`, `${id}.eu-west-1.dev`, 'web-1.eu-central-1.prod.ec2', 'web-1.ec2'];
  const results = await Promise.all([...hosts, ...hosts].map((host) => bench.works({}, [], host)));
  for (const [at, result] of results.entries()) t.match(ofKeyhole(result), works, hosts[at % hosts.length]!);
  await bench.idle();
  for (const [region, accessKeyId] of [
    [central, key.accessKeyId],
    [bench.region, west.accessKeyId],
  ] as const) {
    t.strictSame([...new Set(region.requests.map((request) => request.accessKeyId))], [accessKeyId], region.region);
    t.strictSame(
      region.requests.filter(({ error }) => error !== undefined),
      [],
      `${region.region} has refused nothing`,
    );
    t.equal(region.sessions.length, 4);
    t.equal(actionsOf(region).filter((action) => action === 'DescribeInstances').length, 1, 'asked once');
  }
});

t.test(
  'tables for hosts hold for the next connection; a bad file is told with its place, and the daemon goes on',
  async (t) => {
    const bench = await openHostBench(t, { region: { endpoints: [{ endpointId: 'eice-0123456789abcdef0' }] } });
    const id = bench.instances[0]!;
    t.match(await bench.works({}, [], 'db'), { status: 255, stderr: /^keyhole: "db" is not a host/ });
    t.equal(bench.daemons().length, 0, 'nothing is started for it');

    const file = writeConfig(bench, `[host.db]\ntarget = "${id}.eu-west-1"\ntransport = "eice"\n`);
    t.match(await bench.works({}, [], 'db'), works);
    t.match(await bench.works(), works);
    t.equal(bench.region.tunnels.length, 1, 'db goes by the endpoint');
    t.equal(bench.region.sessions.length, 1, 'the instance by its own name does not');
    t.match((await bench.keyhole(['config', 'db'])).text, `${file}:3:1 [host."db"]`);

    const [daemon] = bench.daemons();
    writeConfig(bench, `transport = "eice"\n[host.db]\ntarget = "${id}"\n  trasport = "ssm"\n`);
    for (const host of ['db', id]) {
      t.match(await bench.works({}, [], host), {
        status: 255,
        stderr: `keyhole: "trasport" in ${file}:4:3 is not a setting\nkeyhole: hint: did you mean transport?\n`,
      });
    }
    t.equal(bench.region.tunnels.length, 1, 'nothing of it is applied');
    writeConfig(bench, '');
    t.match(await bench.works(), works);
    t.strictSame(bench.daemons(), [daemon]);
  },
);
