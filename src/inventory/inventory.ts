// All instances and nodes of a region, put together from what EC2 and Systems Manager each know. Who may ask only one of them
// gets what that one knows.
import type { Ec2Api, ListedInstance } from '../aws/ec2.ts';
import type { ManagedNode, NodesApi } from '../aws/nodes.ts';
import type { KeyholeError } from '../errors.ts';

export interface ListedHost {
  /** `i-…` or `mi-…`. */
  id: string;
  /** The Name tag, or what a hybrid node is called. What anybody wrote who may tag: not safe to print or to write. */
  name: string | undefined;
  /** Of EC2; undefined for hybrid nodes, and where EC2 was not to be asked. */
  state: string | undefined;
  platform: string | undefined;
  /** Of the SSM agent: `Online`, `ConnectionLost`, `Inactive`; undefined where none is known. */
  agent: string | undefined;
  agentVersion: string | undefined;
  address: string | undefined;
  reachableBy: ('ssm' | 'eice')[];
}

export interface Inventory {
  /** By name, then by id. */
  hosts: ListedHost[];
  /** What could not be asked. */
  problems: KeyholeError[];
}

export interface InventorySources {
  ec2: Pick<Ec2Api, 'listInstances' | 'describeEndpoints'>;
  nodes: Pick<NodesApi, 'listNodes'>;
}

/** @throws AwsError where neither of them answers */
export async function takeInventory({ ec2, nodes }: InventorySources, signal?: AbortSignal): Promise<Inventory> {
  const [instances, managed, vpcs] = await Promise.allSettled([
    ec2.listInstances(),
    nodes.listNodes(signal),
    vpcsWithEndpoint(ec2),
  ]);
  signal?.throwIfAborted();
  if (instances.status === 'rejected' && managed.status === 'rejected') throw instances.reason;
  const known = new Map(fulfilledOr(managed, []).map((node) => [node.id, node]));
  const reached = fulfilledOr(vpcs, new Set<string>());
  const listed = fulfilledOr(instances, []);
  const hosts = [
    ...listed.map((instance) => hostOf(instance, known.get(instance.id), reached)),
    ...[...known.values()]
      .filter(({ id }) => !listed.some((instance) => instance.id === id))
      // An instance that EC2 was asked for and does not have was terminated.
      .filter(({ id }) => id.startsWith('mi-') || instances.status === 'rejected')
      .map((node) => hostOf(undefined, node, reached)),
  ];
  const problems = [instances, managed, vpcs].flatMap((part) => (part.status === 'rejected' ? [part.reason] : []));
  return { hosts: hosts.sort(byName), problems };
}

async function vpcsWithEndpoint(ec2: InventorySources['ec2']): Promise<Set<string>> {
  const vpcs = new Set<string>();
  for await (const { vpcId } of ec2.describeEndpoints('all', ['create-complete'])) {
    if (vpcId !== undefined) vpcs.add(vpcId);
  }
  return vpcs;
}

function hostOf(instance: ListedInstance | undefined, node: ManagedNode | undefined, vpcs: Set<string>): ListedHost {
  const runs = instance === undefined || instance.state === 'running';
  const bySsm = node?.pingStatus === 'Online' && runs;
  const byEndpoint = instance?.state === 'running' && instance.vpcId !== undefined && vpcs.has(instance.vpcId);
  return {
    id: (instance ?? node!).id,
    name: instance?.name ?? node?.name,
    state: instance?.state,
    platform: node?.system ?? instance?.platform,
    agent: node?.pingStatus,
    agentVersion: node?.agentVersion,
    address: instance?.address ?? node?.address,
    reachableBy: [...(bySsm ? (['ssm'] as const) : []), ...(byEndpoint ? (['eice'] as const) : [])],
  };
}

function fulfilledOr<T>(result: PromiseSettledResult<T>, otherwise: T): T {
  return result.status === 'fulfilled' ? result.value : otherwise;
}

function byName(a: ListedHost, b: ListedHost): number {
  const key = ({ name, id }: ListedHost) => `${name === undefined ? '1' : '0'}${name ?? ''}\0${id}`;
  return key(a) < key(b) ? -1 : 1;
}
