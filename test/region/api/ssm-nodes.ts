// DescribeInstanceInformation: the managed nodes as SSM lists them, by either kind of filter.
import { ServiceError } from '../errors.ts';
import { connected, type ManagedNode, type RegionState } from '../state.ts';
import { page } from './pages.ts';
import type { Call, Operation } from './service.ts';

interface Filter {
  name: string;
  values: string[];
}

const values = { type: 'list', min: 1, max: 100, member: { type: 'string', min: 1 } } as const;
const instanceId = /^(i-(\w{8}|\w{17})|mi-\w{17})$/;

/** Filter name → what a node has under it. Others of the model (associations, activations, tags) no node here has. */
const attributes: Record<string, (node: ManagedNode) => string | undefined> = {
  InstanceIds: (node) => node.instanceId,
  AgentVersion: (node) => node.agentVersion,
  PingStatus: (node) => pingStatus(node),
  PlatformTypes: (node) => node.platformType,
  ResourceType: (node) => resourceType(node),
  ActivationIds: () => undefined,
  IamRole: () => undefined,
  AssociationStatus: () => undefined,
};

export function describeInstanceInformation(state: RegionState): Operation {
  return {
    input: {
      type: 'structure',
      members: {
        InstanceInformationFilterList: {
          type: 'list',
          member: {
            type: 'structure',
            required: ['key', 'valueSet'],
            members: { key: { type: 'string', values: Object.keys(attributes) }, valueSet: values },
          },
        },
        Filters: {
          type: 'list',
          member: {
            type: 'structure',
            required: ['Key', 'Values'],
            members: { Key: { type: 'string', min: 1 }, Values: values },
          },
        },
        MaxResults: { type: 'integer', min: 5, max: 50 },
        NextToken: { type: 'string' },
      },
    },
    run({ principal, input, authorize }: Call) {
      authorize('ssm:DescribeInstanceInformation', state.arn.any(principal.account));
      const filters = readFilters(input);
      const found = [...state.nodes.values()]
        .filter((node) => node.account === principal.account)
        .filter((node) => filters.every((filter) => passes(node, filter)));
      const size = (input.MaxResults as number | undefined) ?? 50;
      const { items, nextToken } = page(found, size, input.NextToken, filters);
      return { InstanceInformationList: items.map((node) => describe(node, state)), NextToken: nextToken };
    },
  };
}

function readFilters(input: Record<string, unknown>): Filter[] {
  const older = (input.InstanceInformationFilterList ?? []) as { key: string; valueSet: string[] }[];
  const newer = (input.Filters ?? []) as { Key: string; Values: string[] }[];
  if (older.length > 0 && newer.length > 0) {
    throw new ServiceError(
      'ValidationException',
      'Filters and InstanceInformationFilterList can not be used together.',
    );
  }
  const filters = [
    ...older.map(({ key, valueSet }) => ({ name: key, values: valueSet })),
    ...newer.map(({ Key, Values }) => ({ name: Key, values: Values })),
  ];
  for (const { name, values } of filters) {
    if (!Object.hasOwn(attributes, name) && !name.startsWith('tag')) {
      throw new ServiceError('InvalidFilterKey', `The filter key ${name} is not valid.`);
    }
    const wrong = name === 'InstanceIds' ? values.find((value) => !instanceId.test(value)) : undefined;
    if (wrong !== undefined) throw new ServiceError('InvalidInstanceId', `The instance id ${wrong} is not valid.`);
  }
  return filters;
}

function passes(node: ManagedNode, { name, values }: Filter): boolean {
  const own = attributes[name]?.(node);
  return own !== undefined && values.includes(own);
}

function describe(node: ManagedNode, state: RegionState): object {
  const now = state.serviceTime() / 1000;
  return {
    InstanceId: node.instanceId,
    PingStatus: pingStatus(node),
    LastPingDateTime: connected(node) ? now - 60 : now - 3600,
    AgentVersion: node.agentVersion,
    IsLatestVersion: false,
    PlatformType: node.platformType,
    PlatformName: node.platformName,
    PlatformVersion: node.platformVersion,
    ResourceType: resourceType(node),
    IPAddress: node.ipAddress,
    ComputerName: node.name,
    Name: resourceType(node) === 'ManagedInstance' ? node.name : undefined,
    SourceId: node.instanceId,
    SourceType: resourceType(node) === 'ManagedInstance' ? 'AWS::SSM::ManagedInstance' : 'AWS::EC2::Instance',
  };
}

function pingStatus(node: ManagedNode): string {
  return connected(node) ? 'Online' : 'ConnectionLost';
}

function resourceType(node: ManagedNode): string {
  return node.instanceId.startsWith('mi-') ? 'ManagedInstance' : 'EC2Instance';
}
