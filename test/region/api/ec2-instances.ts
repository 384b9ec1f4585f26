// EC2's DescribeInstances: the region's `i-*` nodes, with what a tunnel is chosen by (state, addresses, VPC, subnet,
// tags). Names and constraints: EC2's API reference.
import { ServiceError } from '../errors.ts';
import { glob } from '../iam/pattern.ts';
import type { InstanceState } from '../options.ts';
import type { ManagedNode, RegionState } from '../state.ts';
import { page } from './pages.ts';
import type { Call, Operation } from './service.ts';

interface Input {
  InstanceId?: string[];
  Filter?: { Name: string; Value?: string[] }[];
  MaxResults?: number;
  NextToken?: string;
}

export const stateCodes: Record<InstanceState, number> = {
  pending: 0,
  running: 16,
  'shutting-down': 32,
  terminated: 48,
  stopping: 64,
  stopped: 80,
};

/** Filter → what an instance has under it. `tag:KEY` is understood besides. */
const attributes: Record<string, (node: ManagedNode) => (string | undefined)[]> = {
  'availability-zone': (node) => [node.availabilityZone],
  'instance-id': (node) => [node.instanceId],
  'instance-state-code': (node) => [String(stateCodes[node.state])],
  'instance-state-name': (node) => [node.state],
  'ip-address': (node) => [node.publicIpAddress],
  'network-interface.ipv6-addresses.ipv6-address': (node) => [node.ipv6Address],
  'owner-id': (node) => [node.account],
  platform: (node) => [platform(node)],
  'private-dns-name': (node) => [node.name],
  'private-ip-address': (node) => [node.ipAddress],
  'subnet-id': (node) => [node.subnetId],
  'tag-key': (node) => Object.keys(node.tags),
  'tag-value': (node) => Object.values(node.tags),
  'vpc-id': (node) => [node.vpcId],
};

export function describeInstances(state: RegionState): Operation {
  const strings = { type: 'list', member: { type: 'string' } } as const;
  return {
    input: {
      type: 'structure',
      members: {
        InstanceId: strings,
        Filter: {
          type: 'list',
          member: { type: 'structure', required: ['Name'], members: { Name: { type: 'string' }, Value: strings } },
        },
        MaxResults: { type: 'integer', min: 5, max: 1000 },
        NextToken: { type: 'string' },
      },
    },
    run({ principal, input, authorize }: Call) {
      authorize('ec2:DescribeInstances', '*');
      const { InstanceId: ids, Filter: filters = [], MaxResults, NextToken } = input as Input;
      if (ids !== undefined && MaxResults !== undefined) {
        throw new ServiceError(
          'InvalidParameterCombination',
          'The parameter instancesSet cannot be used with the parameter maxResults',
        );
      }
      const found = selectInstances(state, principal.account, ids).filter((node) =>
        filters.every((filter) => passes(node, filter)),
      );
      const { items, nextToken } = page(found, MaxResults ?? 1000, NextToken, filters);
      return { reservationSet: items.map((node) => reservation(node)), nextToken };
    },
  };
}

/** Of an account, all or those with the ids. Throws for ids that do not exist: the whole call fails. */
export function selectInstances(state: RegionState, account: string, ids: string[] | undefined): ManagedNode[] {
  const nodes = [...state.nodes.values()].filter(
    (node) => node.instanceId.startsWith('i-') && node.account === account,
  );
  if (ids === undefined) return nodes;
  const malformed = ids.find((id) => !/^i-([0-9a-f]{8}|[0-9a-f]{17})$/.test(id));
  if (malformed !== undefined) throw new ServiceError('InvalidInstanceID.Malformed', `Invalid id: "${malformed}"`);
  const missing = ids.filter((id) => !nodes.some((node) => node.instanceId === id));
  if (missing.length === 1) {
    throw new ServiceError('InvalidInstanceID.NotFound', `The instance ID '${missing[0]}' does not exist`);
  }
  if (missing.length > 1) {
    throw new ServiceError('InvalidInstanceID.NotFound', `The instance IDs '${missing.join(', ')}' do not exist`);
  }
  return nodes.filter((node) => ids.includes(node.instanceId));
}

function passes(node: ManagedNode, { Name: name, Value: wanted = [] }: { Name: string; Value?: string[] }): boolean {
  const values = name.startsWith('tag:') ? [node.tags[name.slice('tag:'.length)]] : attributes[name]?.(node);
  if (values === undefined) throw new ServiceError('InvalidParameterValue', `The filter '${name}' is invalid`);
  return values.some((value) => value !== undefined && wanted.some((pattern) => glob(pattern, value)));
}

function platform(node: ManagedNode): string | undefined {
  return node.platformType === 'Windows' ? 'windows' : undefined;
}

function reservation(node: ManagedNode): object {
  const suffix = node.instanceId.slice('i-'.length);
  const there = node.state !== 'terminated';
  const network = {
    subnetId: node.subnetId,
    vpcId: node.vpcId,
    privateIpAddress: node.ipAddress,
  };
  return {
    reservationId: `r-${suffix}`,
    ownerId: node.account,
    groupSet: [],
    instancesSet: [
      {
        instanceId: node.instanceId,
        imageId: 'ami-0123456789abcdef0',
        instanceState: { code: stateCodes[node.state], name: node.state },
        privateDnsName: there ? node.name : '',
        dnsName: '',
        amiLaunchIndex: 0,
        instanceType: 't3.micro',
        launchTime: new Date(node.launchedAt).toISOString(),
        placement: { availabilityZone: node.availabilityZone, groupName: '', tenancy: 'default' },
        platform: platform(node),
        platformDetails: node.platformType === 'Windows' ? 'Windows' : 'Linux/UNIX',
        monitoring: { state: 'disabled' },
        architecture: 'x86_64',
        rootDeviceType: 'ebs',
        virtualizationType: 'hvm',
        hypervisor: 'xen',
        sourceDestCheck: true,
        tagSet: Object.entries(node.tags).map(([key, value]) => ({ key, value })),
        ...(there && {
          ...network,
          ipAddress: node.publicIpAddress,
          ipv6Address: node.ipv6Address,
          networkInterfaceSet: [
            {
              networkInterfaceId: `eni-${suffix}`,
              ...network,
              ipv6AddressesSet: node.ipv6Address === undefined ? [] : [{ ipv6Address: node.ipv6Address }],
            },
          ],
        }),
      },
    ],
  };
}
