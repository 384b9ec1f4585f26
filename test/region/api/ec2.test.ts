// Asked by AWS's own SDK, which parses the XML.
import {
  DescribeInstancesCommand,
  type DescribeInstancesCommandInput,
  EC2Client,
  paginateDescribeInstances,
  StartInstancesCommand,
  StopInstancesCommand,
} from '@aws-sdk/client-ec2';
import t, { type Test } from 'tap';
import { ManualClock } from '../../manual-clock.ts';
import { clientConfig, instanceId, startStand } from '../fixture.ts';
import type { RegionOptions } from '../options.ts';

const otherId = 'i-0fedcba9876543210';

async function open(t: Test, options: RegionOptions = {}) {
  const { region } = await startStand(t, {
    nodes: [
      { instanceId, tags: { Name: 'web & <db>', stage: 'test' }, publicIpAddress: '192.0.2.1' },
      { instanceId: otherId, state: 'stopped', platformType: 'Windows', vpcId: 'vpc-1', ipv6Address: '2001:db8::1' },
      { instanceId: 'mi-0123456789abcdef0' },
      { instanceId: 'i-0aaaaaaaaaaaaaaaa', account: '999999999999' },
    ],
    accessKeys: [
      { accessKeyId: 'AKID', secretAccessKey: 's' },
      { accessKeyId: 'OTHER', secretAccessKey: 's', account: '999999999999' },
    ],
    ...options,
  });
  const client = (accessKeyId: string) => {
    const ec2 = new EC2Client(clientConfig(region, accessKeyId));
    t.teardown(() => ec2.destroy());
    return ec2;
  };
  const ec2 = client('AKID');
  const ids = async (input: DescribeInstancesCommandInput, by = ec2) => {
    const { Reservations } = await by.send(new DescribeInstancesCommand(input));
    return Reservations!.flatMap(({ Instances }) => Instances!.map(({ InstanceId }) => InstanceId));
  };
  return { region, client, ec2, ids };
}

t.test('DescribeInstances tells of each instance what a tunnel is chosen by', async (t) => {
  const { ec2, region } = await open(t);
  const { Reservations } = await ec2.send(new DescribeInstancesCommand({ InstanceIds: [instanceId, otherId] }));
  t.match(
    Reservations!.map((reservation) => reservation.Instances),
    [
      [
        {
          InstanceId: instanceId,
          State: { Code: 16, Name: 'running' },
          PrivateIpAddress: '10.0.1.23',
          PublicIpAddress: '192.0.2.1',
          VpcId: 'vpc-0123456789abcdef0',
          SubnetId: 'subnet-0123456789abcdef0',
          Placement: { AvailabilityZone: 'eu-west-1a' },
          PlatformDetails: 'Linux/UNIX',
          Platform: undefined,
          Tags: [
            { Key: 'Name', Value: 'web & <db>' },
            { Key: 'stage', Value: 'test' },
          ],
          LaunchTime: Date,
        },
      ],
      [
        {
          InstanceId: otherId,
          State: { Code: 80, Name: 'stopped' },
          PrivateIpAddress: '10.0.1.24',
          PublicIpAddress: undefined,
          VpcId: 'vpc-1',
          Ipv6Address: '2001:db8::1',
          Platform: 'windows',
          NetworkInterfaces: [{ VpcId: 'vpc-1', Ipv6Addresses: [{ Ipv6Address: '2001:db8::1' }] }],
        },
      ],
    ],
  );
  t.match(region.requests, [
    {
      service: 'ec2',
      action: 'DescribeInstances',
      accessKeyId: 'AKID',
      arn: 'arn:aws:iam::111122223333:user/alice',
      input: { InstanceId: [instanceId, otherId] },
      status: 200,
    },
  ]);
});

t.test('it lists the caller’s own instances, by filters of which all must hold', async (t) => {
  const { ids, client } = await open(t);
  const filter = (...filters: [string, ...string[]][]) =>
    ids({ Filters: filters.map(([Name, ...Values]) => ({ Name, Values })) });
  t.same(await ids({}), [instanceId, otherId]);
  t.same(await ids({}, client('OTHER')), ['i-0aaaaaaaaaaaaaaaa']);
  t.same(await filter(['tag:Name', 'web*']), [instanceId]);
  t.same(await filter(['tag:Name', 'nothing', 'web ? <db>']), [instanceId]);
  t.same(await filter(['tag:Name', 'web']), []);
  t.same(await filter(['tag-key', 'stage'], ['instance-state-name', 'stopped']), []);
  t.same(await filter(['instance-state-name', 'running', 'stopped']), [instanceId, otherId]);
  t.same(await filter(['private-ip-address', '10.0.1.24']), [otherId]);
  t.same(await filter(['ip-address', '*']), [instanceId]);
  await t.rejects(filter(['colour', 'red']), { name: 'InvalidParameterValue', message: /'colour' is invalid/ });
});

t.test('it is cut into pages', async (t) => {
  const nodes = Array.from({ length: 12 }, (_, at) => ({
    instanceId: `i-000000000000000${String(at).padStart(2, '0')}`,
  }));
  const { ec2, region } = await open(t, { nodes });
  const found: (string | undefined)[] = [];
  for await (const { Reservations } of paginateDescribeInstances({ client: ec2, pageSize: 5 }, {})) {
    found.push(...Reservations!.flatMap(({ Instances }) => Instances!.map(({ PrivateIpAddress }) => PrivateIpAddress)));
  }
  t.equal(region.requests.length, 3);
  t.equal(new Set(found).size, 12, 'each with an address of its own');
});

t.test('what it refuses, and how', async (t) => {
  const { ids, region, ec2 } = await open(t);
  await t.rejects(ids({ InstanceIds: ['i-1'] }), { name: 'InvalidInstanceID.Malformed', message: 'Invalid id: "i-1"' });
  await t.rejects(ids({ InstanceIds: ['mi-0123456789abcdef0'] }), { name: 'InvalidInstanceID.Malformed' });
  await t.rejects(ids({ InstanceIds: [instanceId, 'i-0aaaaaaaaaaaaaaaa'] }), {
    name: 'InvalidInstanceID.NotFound',
    message: "The instance ID 'i-0aaaaaaaaaaaaaaaa' does not exist",
  });
  await t.rejects(ids({ MaxResults: 4 }), { name: 'InvalidParameterValue' });
  await t.rejects(ids({ MaxResults: 5, InstanceIds: [instanceId] }), { name: 'InvalidParameterCombination' });
  await t.rejects(ids({ NextToken: 'nonsense' }), { name: 'InvalidNextToken' });
  await t.rejects(ids({ DryRun: false }), { name: 'UnknownParameter', message: /DryRun/ });
  await t.rejects(ec2.send(new StopInstancesCommand({ InstanceIds: [instanceId] })), { name: 'InvalidAction' });
  region.apiFaults.fail('DescribeInstances', { code: 'ThrottlingException' });
  await t.rejects(ids({}), { name: 'RequestLimitExceeded', $metadata: { httpStatusCode: 503 } });
  region.identities.denials.push({ action: 'ec2:Describe*' });
  await t.rejects(ids({}), {
    name: 'UnauthorizedOperation',
    message:
      'You are not authorized to perform this operation. User: arn:aws:iam::111122223333:user/alice is not authorized ' +
      'to perform: ec2:DescribeInstances with an explicit deny in an identity-based policy',
    $metadata: { httpStatusCode: 403 },
  });
});

t.test('credentials that are no good are refused in EC2’s words', async (t) => {
  const { region, ids } = await open(t);
  const config = clientConfig(region, 'AKID');
  const wrong = new EC2Client({ ...config, credentials: { ...config.credentials, secretAccessKey: 'wrong' } });
  t.teardown(() => wrong.destroy());
  await t.rejects(ids({}, wrong), { name: 'AuthFailure', $metadata: { httpStatusCode: 401 } });
  region.identities.find('AKID')!.expiresAt = 0;
  await t.rejects(ids({}), { name: 'RequestExpired' });
});

t.test('StartInstances starts what is stopped: pending, running, and at last connected', async (t) => {
  const clock = new ManualClock(Date.now());
  const { ec2, region } = await open(t, { clock });
  const start = async (...InstanceIds: string[]) => await ec2.send(new StartInstancesCommand({ InstanceIds }));
  const describe = async () => {
    const { Reservations } = await ec2.send(new DescribeInstancesCommand({ InstanceIds: [otherId] }));
    return Reservations![0]!.Instances![0]!;
  };
  const before = (await describe()).LaunchTime!;
  t.match((await start(otherId, instanceId)).StartingInstances, [
    { InstanceId: instanceId, CurrentState: { Name: 'running' }, PreviousState: { Name: 'running' } },
    { InstanceId: otherId, CurrentState: { Code: 0, Name: 'pending' }, PreviousState: { Code: 80, Name: 'stopped' } },
  ]);
  t.equal((await describe()).State!.Name, 'stopped', 'it is not seen at once');
  await clock.advance(300);
  t.equal((await describe()).State!.Name, 'pending');
  t.ok((await describe()).LaunchTime! > before);
  await clock.advance(7_000);
  t.equal((await describe()).State!.Name, 'running');
  t.notOk(region.nodes.get(otherId)!.online, 'its agent is not there yet');
  await clock.advance(13_000);
  t.ok(region.nodes.get(otherId)!.online);
});

t.test('StartInstances refuses what cannot be started, and whom it is not allowed', async (t) => {
  const { ec2, client, region } = await open(t, {
    denials: [{ action: 'ec2:StartInstances', resource: `*/${instanceId}` }],
  });
  const start = (id: string, by = ec2) => by.send(new StartInstancesCommand({ InstanceIds: [id] }));
  await t.rejects(start(instanceId), { name: 'UnauthorizedOperation' });
  await t.rejects(start(otherId, client('OTHER')), { name: 'InvalidInstanceID.NotFound' });
  for (const state of ['stopping', 'shutting-down', 'terminated'] as const) {
    region.nodes.get(otherId)!.state = state;
    await t.rejects(start(otherId), { name: 'IncorrectInstanceState' }, state);
  }
});
