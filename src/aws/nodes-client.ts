// DescribeInstanceInformation through the AWS SDK.
import { DescribeInstanceInformationCommand, type InstanceInformation } from '@aws-sdk/client-ssm';
import { maxListedInstances } from './ec2.ts';
import type { ManagedNode, NodesOptions } from './nodes.ts';

export async function describeNode(
  { client, call }: NodesOptions,
  id: string,
  signal?: AbortSignal,
): Promise<ManagedNode | undefined> {
  const command = new DescribeInstanceInformationCommand({ Filters: [{ Key: 'InstanceIds', Values: [id] }] });
  const context = { operation: 'DescribeInstanceInformation', target: id };
  const answer = await call(context, (options) => client.send(command, options), signal);
  const found = answer.InstanceInformationList?.find(({ InstanceId }) => InstanceId === id);
  return found && parseNode(found);
}

export async function listNodes({ client, call }: NodesOptions, signal?: AbortSignal): Promise<ManagedNode[]> {
  const found: ManagedNode[] = [];
  let NextToken: string | undefined;
  do {
    const command = new DescribeInstanceInformationCommand({ MaxResults: 50, NextToken });
    const context = { operation: 'DescribeInstanceInformation' };
    const answer = await call(context, (options) => client.send(command, options), signal);
    found.push(...(answer.InstanceInformationList ?? []).map(parseNode));
    NextToken = answer.NextToken;
  } while (NextToken && found.length < maxListedInstances);
  return found;
}

function parseNode(node: InstanceInformation): ManagedNode {
  return {
    id: node.InstanceId ?? '',
    pingStatus: node.PingStatus ?? 'ConnectionLost',
    agentVersion: node.AgentVersion,
    platform: node.PlatformType,
    system: [node.PlatformName, node.PlatformVersion].filter(Boolean).join(' ') || undefined,
    name: node.Name || node.ComputerName,
    address: node.IPAddress,
  };
}
