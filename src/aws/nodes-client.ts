// DescribeInstanceInformation through the AWS SDK.
import { DescribeInstanceInformationCommand, type InstanceInformation } from '@aws-sdk/client-ssm';
import type { ManagedNode, NodesOptions } from './nodes.ts';

export async function describeNode(
  { client, call }: NodesOptions,
  id: string,
  signal?: AbortSignal,
): Promise<ManagedNode | undefined> {
  const command = new DescribeInstanceInformationCommand({ Filters: [{ Key: 'InstanceIds', Values: [id] }] });
  const context = { operation: 'DescribeInstanceInformation', target: id };
  const answer = await call(context, (abortSignal) => client.send(command, { abortSignal }), signal);
  const found = answer.InstanceInformationList?.find(({ InstanceId }) => InstanceId === id);
  return found && parseNode(found);
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
