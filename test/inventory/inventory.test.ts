// The list against the simulated region, through AWS's SDK.
import t, { type Test } from 'tap';
import { openAws } from '../../src/aws/own-context.ts';
import { systemClock } from '../../src/clock.ts';
import { takeInventory } from '../../src/inventory/inventory.ts';
import { silent } from '../../src/log.ts';
import { useAwsSettings } from '../aws/aws-files.ts';
import type { PolicyDocument } from '../region/iam/policy.ts';
import type { RegionOptions } from '../region/options.ts';
import { startRegion } from '../region/region.ts';

async function setUp(t: Test, options: RegionOptions = {}) {
  const region = await startRegion({
    nodes: [
      { instanceId: 'i-0123456789abcdef0', tags: { Name: 'web' }, platformName: 'Ubuntu', platformVersion: '24.04' },
      { instanceId: 'i-0fedcba9876543210', tags: { Name: 'asleep' }, state: 'stopped', online: false },
      { instanceId: 'mi-0123456789abcdef0', name: 'printer' },
    ],
    ...options,
  });
  t.teardown(() => region.stop());
  useAwsSettings(t, {}, region.env);
  const aws = await openAws({ clock: systemClock, log: silent });
  t.teardown(() => aws.close());
  return { region, aws };
}

t.test('instances and nodes, and how each is reached', async (t) => {
  const { aws } = await setUp(t, { endpoints: [{ endpointId: 'eice-0123456789abcdef0' }] });
  const { hosts, problems } = await takeInventory(aws);
  t.same(problems, []);
  t.match(hosts, [
    { id: 'i-0fedcba9876543210', name: 'asleep', state: 'stopped', reachableBy: [] },
    { id: 'mi-0123456789abcdef0', name: 'printer', state: undefined, agent: 'Online', reachableBy: ['ssm'] },
    {
      id: 'i-0123456789abcdef0',
      name: 'web',
      state: 'running',
      platform: 'Ubuntu 24.04',
      agent: 'Online',
      reachableBy: ['ssm', 'eice'],
    },
  ]);
  t.equal(hosts.length, 3);
});

t.test('more than one page of either', async (t) => {
  const nodes = Array.from({ length: 120 }, (_, at) => ({ instanceId: `i-${String(at).padStart(17, '0')}` }));
  const { aws } = await setUp(t, { nodes });
  const { hosts } = await takeInventory(aws);
  t.equal(hosts.length, 120);
  t.ok(hosts.every(({ reachableBy }) => reachableBy.includes('ssm')));
});

t.test('who may ask only one of them gets what that one knows', async (t) => {
  const { region, aws } = await setUp(t);
  const only = (Action: string) =>
    region.identities.setPolicies(region.env.AWS_ACCESS_KEY_ID!, [
      { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action, Resource: '*' }] } as PolicyDocument,
    ]);
  only('ssm:DescribeInstanceInformation');
  const managed = await takeInventory(aws);
  t.same(managed.hosts.map(({ id, state }) => [id, state]).sort(), [
    ['i-0123456789abcdef0', undefined],
    ['i-0fedcba9876543210', undefined],
    ['mi-0123456789abcdef0', undefined],
  ]);
  t.match(managed.problems, [{ code: 'access-denied', message: /ec2:DescribeInstances/ }, { code: 'access-denied' }]);
  only('ec2:DescribeInstances');
  const instances = await takeInventory(aws);
  t.equal(instances.hosts.length, 2);
  t.match(instances.problems[0], { code: 'access-denied', message: /ssm:DescribeInstanceInformation/ });
  only('ec2:DescribeVpcs');
  await t.rejects(takeInventory(aws), { code: 'access-denied' });
});
