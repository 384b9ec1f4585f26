// EC2's DescribeInstanceConnectEndpoints. Names and constraints: EC2's service model 2016-11-15; what a tunnel is chosen
// by: protocol.md 9.1.
import type { Endpoint } from '../eice/endpoint.ts';
import { ServiceError } from '../errors.ts';
import { glob } from '../iam/pattern.ts';
import type { RegionState } from '../state.ts';
import { page } from './pages.ts';
import type { Call, Operation } from './service.ts';

interface Input {
  InstanceConnectEndpointId?: string[];
  Filter?: { Name: string; Value?: string[] }[];
  MaxResults?: number;
  NextToken?: string;
}

/** Filter → what an endpoint has under it. `tag:KEY` is understood besides. */
const attributes: Record<string, (endpoint: Endpoint) => string[]> = {
  'instance-connect-endpoint-id': (endpoint) => [endpoint.endpointId],
  state: (endpoint) => [endpoint.state],
  'subnet-id': (endpoint) => [endpoint.subnetId],
  'tag-key': (endpoint) => Object.keys(endpoint.tags),
  'tag-value': (endpoint) => Object.values(endpoint.tags),
  'vpc-id': (endpoint) => [endpoint.vpcId],
};

export function describeInstanceConnectEndpoints(state: RegionState): Operation {
  const strings = { type: 'list', member: { type: 'string' } } as const;
  return {
    input: {
      type: 'structure',
      members: {
        InstanceConnectEndpointId: strings,
        Filter: {
          type: 'list',
          member: { type: 'structure', required: ['Name'], members: { Name: { type: 'string' }, Value: strings } },
        },
        MaxResults: { type: 'integer', min: 1, max: 50 },
        NextToken: { type: 'string' },
      },
    },
    run({ principal, input, authorize }: Call) {
      authorize('ec2:DescribeInstanceConnectEndpoints', '*');
      const { InstanceConnectEndpointId: ids, Filter: filters = [], MaxResults = 50, NextToken } = input as Input;
      const own = [...state.endpoints.values()].filter(({ account }) => account === principal.account);
      const found = select(own, ids).filter((endpoint) => filters.every((filter) => passes(endpoint, filter)));
      const { items, nextToken } = page(found, MaxResults, NextToken, [ids, filters]);
      return { instanceConnectEndpointSet: items.map((endpoint) => describe(endpoint, state)), nextToken };
    },
  };
}

/** Throws for an id that does not exist: the whole call fails. */
function select(endpoints: Endpoint[], ids: string[] | undefined): Endpoint[] {
  if (ids === undefined) return endpoints;
  for (const id of ids) {
    if (!/^eice-[0-9a-f]{17}$/.test(id)) {
      throw new ServiceError('InvalidInstanceConnectEndpointId.Malformed', `Invalid id: "${id}"`);
    }
    if (!endpoints.some(({ endpointId }) => endpointId === id)) {
      throw new ServiceError(
        'InvalidInstanceConnectEndpointId.NotFound',
        `The EC2 Instance Connect Endpoint ID '${id}' does not exist`,
      );
    }
  }
  return endpoints.filter(({ endpointId }) => ids.includes(endpointId));
}

function passes(endpoint: Endpoint, { Name: name, Value: wanted = [] }: { Name: string; Value?: string[] }): boolean {
  const tag = name.startsWith('tag:') ? endpoint.tags[name.slice('tag:'.length)] : undefined;
  const values = name.startsWith('tag:') ? [tag ?? []].flat() : attributes[name]?.(endpoint);
  if (values === undefined) throw new ServiceError('InvalidParameterValue', `The filter '${name}' is invalid`);
  return values.some((value) => wanted.some((pattern) => glob(pattern, value)));
}

function describe(endpoint: Endpoint, state: RegionState): object {
  const suffix = endpoint.endpointId.slice('eice-'.length);
  const names = { dnsName: endpoint.dnsName, fipsDnsName: endpoint.fipsDnsName };
  return {
    ownerId: endpoint.account,
    instanceConnectEndpointId: endpoint.endpointId,
    instanceConnectEndpointArn: state.arn.endpoint(endpoint.endpointId, endpoint.account),
    state: endpoint.state,
    stateMessage: endpoint.stateMessage ?? '',
    ...names,
    networkInterfaceIdSet: [`eni-${suffix}`],
    vpcId: endpoint.vpcId,
    availabilityZone: endpoint.availabilityZone,
    createdAt: new Date(state.startedAt).toISOString(),
    subnetId: endpoint.subnetId,
    preserveClientIp: endpoint.preserveClientIp,
    securityGroupIdSet: ['sg-0123456789abcdef0'],
    tagSet: Object.entries(endpoint.tags).map(([key, value]) => ({ key, value })),
    ipAddressType: endpoint.ipAddressType,
    publicDnsNames: endpoint.ipAddressType === 'ipv4' ? { ipv4: names } : { dualstack: names },
  };
}
