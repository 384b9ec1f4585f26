// Asked by AWS's own SDK, which parses the XML.
import {
  DescribeInstanceConnectEndpointsCommand,
  type DescribeInstanceConnectEndpointsCommandInput,
  EC2Client,
  paginateDescribeInstanceConnectEndpoints,
} from '@aws-sdk/client-ec2';
import t, { type Test } from 'tap';
import type { EndpointOptions } from '../eice/endpoint.ts';
import { clientConfig, startStand } from '../fixture.ts';

const id = (at: number) => `eice-0000000000000000${at.toString(16)}`;

async function open(t: Test, endpoints: EndpointOptions[]) {
  const { region } = await startStand(t, { endpoints });
  const ec2 = new EC2Client(clientConfig(region));
  t.teardown(() => ec2.destroy());
  const describe = async (input: DescribeInstanceConnectEndpointsCommandInput = {}) =>
    (await ec2.send(new DescribeInstanceConnectEndpointsCommand(input))).InstanceConnectEndpoints!;
  const ids = async (...filters: [string, ...string[]][]) => {
    const found = await describe({ Filters: filters.map(([Name, ...Values]) => ({ Name, Values })) });
    return found.map(({ InstanceConnectEndpointId }) => InstanceConnectEndpointId);
  };
  return { region, ec2, describe, ids };
}

t.test('DescribeInstanceConnectEndpoints tells what a tunnel needs to know', async (t) => {
  const { region, describe } = await open(t, [
    { endpointId: id(1), tags: { stage: 'test' } },
    { endpointId: id(2), dnsName: 'eice.example:8443', fips: true, ipAddressType: 'dualstack', preserveClientIp: true },
  ]);
  const { host, port } = new URL(region.endpoint);
  t.match(await describe(), [
    {
      OwnerId: '111122223333',
      InstanceConnectEndpointId: id(1),
      InstanceConnectEndpointArn: `arn:aws:ec2:eu-west-1:111122223333:instance-connect-endpoint/${id(1)}`,
      State: 'create-complete',
      DnsName: host,
      FipsDnsName: undefined,
      VpcId: 'vpc-0123456789abcdef0',
      SubnetId: 'subnet-0123456789abcdef0',
      AvailabilityZone: 'eu-west-1a',
      PreserveClientIp: false,
      IpAddressType: 'ipv4',
      PublicDnsNames: { Ipv4: { DnsName: host }, Dualstack: undefined },
      Tags: [{ Key: 'stage', Value: 'test' }],
      CreatedAt: Date,
    },
    {
      InstanceConnectEndpointId: id(2),
      DnsName: 'eice.example:8443',
      FipsDnsName: `localhost:${port}`,
      PreserveClientIp: true,
      IpAddressType: 'dualstack',
      PublicDnsNames: { Ipv4: undefined, Dualstack: { FipsDnsName: `localhost:${port}` } },
    },
  ]);
  t.match(region.requests, [{ service: 'ec2', action: 'DescribeInstanceConnectEndpoints', status: 200 }]);
});

t.test('it lists the caller’s own endpoints, by filters of which all must hold, or by id', async (t) => {
  const { describe, ids, region } = await open(t, [
    { endpointId: id(1) },
    { endpointId: id(2), vpcId: 'vpc-2', subnetId: 'subnet-2', state: 'update-failed' },
    { endpointId: id(3), vpcId: 'vpc-2', state: 'create-failed', stateMessage: 'no addresses left' },
    { endpointId: id(4), account: '999999999999' },
  ]);
  t.same(await ids(), [id(1), id(2), id(3)]);
  t.same(await ids(['vpc-id', 'vpc-2']), [id(2), id(3)]);
  t.same(await ids(['vpc-id', 'vpc-2'], ['state', 'create-complete', 'update-failed']), [id(2)]);
  t.same(await ids(['subnet-id', 'subnet-2']), [id(2)]);
  t.same(await ids(['instance-connect-endpoint-id', id(3)]), [id(3)]);
  t.same(await ids(['tag:stage', 'test']), []);
  region.endpoints.get(id(1))!.tags = { stage: 'test' };
  t.same(await ids(['tag:stage', 't*']), [id(1)]);
  t.match(await describe({ InstanceConnectEndpointIds: [id(3)] }), [{ StateMessage: 'no addresses left' }]);
});

t.test('it is cut into pages', async (t) => {
  const endpoints = Array.from({ length: 5 }, (_, at) => ({ endpointId: id(at) }));
  const { ec2, region } = await open(t, endpoints);
  const found: (string | undefined)[] = [];
  for await (const page of paginateDescribeInstanceConnectEndpoints({ client: ec2, pageSize: 2 }, {})) {
    found.push(...page.InstanceConnectEndpoints!.map(({ InstanceConnectEndpointId }) => InstanceConnectEndpointId));
  }
  t.same(
    found,
    endpoints.map(({ endpointId }) => endpointId),
  );
  t.equal(region.requests.length, 3);
});

t.test('what it refuses, and how', async (t) => {
  const { describe, ids, region } = await open(t, [{ endpointId: id(1) }]);
  const byId = (InstanceConnectEndpointId: string) =>
    describe({ InstanceConnectEndpointIds: [InstanceConnectEndpointId] });
  await t.rejects(byId('i-1'), { name: 'InvalidInstanceConnectEndpointId.Malformed' });
  await t.rejects(byId(id(2)), { name: 'InvalidInstanceConnectEndpointId.NotFound' });
  await t.rejects(ids(['colour', 'red']), { name: 'InvalidParameterValue' });
  await t.rejects(describe({ MaxResults: 51 }), { name: 'InvalidParameterValue' });
  await t.rejects(describe({ NextToken: 'nonsense' }), { name: 'InvalidNextToken' });
  region.identities.setPolicies(region.env.AWS_ACCESS_KEY_ID!, []);
  await t.rejects(describe(), {
    name: 'UnauthorizedOperation',
    message: /perform: ec2:DescribeInstanceConnectEndpoints because no identity-based policy allows the ec2:Describe/,
  });
});
