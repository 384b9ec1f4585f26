// Which EC2 Instance Connect Endpoint leads to an instance, and to which of its addresses (protocol.md 9.1). Pure but for
// the order in which it takes the endpoints: the next page is asked for only where none of this one will do.
import { isIPv6 } from 'node:net';
import type { Instance, InstanceConnectEndpoint } from '../aws/ec2.ts';
import { type KeyholeError, ProtocolError, TransportError } from '../errors.ts';

/** Those in which an endpoint works. Not `create-complete` alone: one that was modified once never has it again (9.1). */
export const usableStates = ['create-complete', 'update-in-progress', 'update-complete', 'update-failed'];

/** The service refuses others (9.4). */
const remotePorts = [22, 3389];

/** Where a tunnel is opened, and where it leads. */
export interface Route {
  instanceId: string;
  /** Of the instance, in its VPC. */
  privateIpAddress: string;
  endpointId: string;
  /** For messages. */
  endpointArn: string | undefined;
  /** Host, with a port where it is not 443. */
  authority: string;
}

/** Why no endpoint can carry it, whatever there is in the account. */
export function objection(target: string, port: number): KeyholeError | undefined {
  if (!target.startsWith('i-')) {
    return new TransportError('eice-node', `EC2 Instance Connect Endpoint does not reach ${target}`, {
      hint: 'it reaches EC2 instances (i-…) only; a node (mi-…) is reached by SSM',
    });
  }
  if (!remotePorts.includes(port)) {
    return new TransportError('eice-port', `EC2 Instance Connect Endpoint does not lead to port ${port}`, {
      hint: `it leads to ports ${remotePorts.join(' and ')} only; other ports are reached by SSM, or through ssh (-L, -J)`,
    });
  }
  return undefined;
}

/** @throws TransportError `instance-pending`, `instance-stopped` */
export function assertRunning({ id, state }: Instance): void {
  if (state === 'running') return;
  if (state === 'pending') throw new TransportError('instance-pending', `${id} is still starting`);
  throw new TransportError('instance-stopped', `${id} is ${state}`, {
    hint:
      state === 'stopped'
        ? `aws ec2 start-instances --instance-ids ${id}; the setting start = true does it by itself`
        : 'an instance has to run to be connected to',
  });
}

/**
 * The first endpoint of the instance's subnet, else the first of its VPC, among those that reach an address of the instance.
 * @param endpoints of its VPC, in the order of EC2's answer
 * @throws TransportError `eice-no-endpoint`, `eice-no-fips`
 */
export async function chooseEndpoint(
  instance: Instance,
  endpoints: AsyncIterable<InstanceConnectEndpoint> | Iterable<InstanceConnectEndpoint>,
  { fips }: { fips: boolean },
): Promise<Route> {
  let chosen: InstanceConnectEndpoint | undefined;
  let unfit: InstanceConnectEndpoint | undefined;
  for await (const endpoint of endpoints) {
    if (!usableStates.includes(endpoint.state ?? '')) continue;
    if (reachableAddress(instance, endpoint) === undefined) {
      unfit ??= endpoint;
      continue;
    }
    chosen ??= endpoint;
    if (endpoint.subnetId !== undefined && endpoint.subnetId === instance.subnetId) {
      chosen = endpoint;
      break;
    }
  }
  if (chosen === undefined) throw unfit === undefined ? noEndpoint(instance) : otherFamily(instance, unfit);
  return routeOver(chosen, instance, { fips });
}

/** Over an endpoint that the user named. @throws TransportError `eice-no-endpoint`, `eice-no-fips` */
export function routeOver(endpoint: InstanceConnectEndpoint, instance: Instance, { fips }: { fips: boolean }): Route {
  const privateIpAddress = reachableAddress(instance, endpoint);
  if (privateIpAddress === undefined) throw otherFamily(instance, endpoint);
  const authority = fips ? endpoint.fipsDnsName : endpoint.dnsName;
  if (fips && !authority) {
    throw new TransportError('eice-no-fips', `endpoint ${endpoint.id} has no name for FIPS`, {
      hint: 'FIPS endpoints are asked for by AWS_USE_FIPS_ENDPOINT or use_fips_endpoint; not every region has them',
    });
  }
  if (!isAuthority(authority)) {
    throw new ProtocolError('bad-answer', `EC2 answered no proper DNS name for endpoint ${endpoint.id}`, {
      side: 'remote',
    });
  }
  return {
    instanceId: instance.id,
    privateIpAddress,
    endpointId: endpoint.id,
    endpointArn: endpoint.arn,
    authority,
  };
}

/** IPv4 where both are possible, as the aws command has it (9.5). */
function reachableAddress({ ipv4, ipv6 }: Instance, { ipAddressType }: InstanceConnectEndpoint): string | undefined {
  return (ipAddressType === 'ipv6' ? undefined : ipv4) ?? (ipAddressType === 'ipv4' ? undefined : ipv6);
}

/** A host name or address, perhaps with a port. */
export function isAuthority(text: string | undefined): text is string {
  const [, host, bracketed] =
    /^(?:([A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)|\[([0-9a-fA-F:.]+)\])(?::[0-9]{1,5})?$/.exec(text ?? '') ??
    [];
  return host !== undefined || (bracketed !== undefined && isIPv6(bracketed));
}

function noEndpoint({ id, vpcId }: Instance): TransportError {
  return new TransportError(
    'eice-no-endpoint',
    `there is no EC2 Instance Connect Endpoint in ${vpcId === undefined ? 'the VPC' : vpcId} of ${id}`,
    { hint: 'aws ec2 create-instance-connect-endpoint --subnet-id … makes one; eice_endpoint_id names one elsewhere' },
  );
}

function otherFamily({ id, ipv4 }: Instance, endpoint: InstanceConnectEndpoint): TransportError {
  const has = ipv4 === undefined ? 'IPv6' : 'IPv4';
  return new TransportError(
    'eice-no-endpoint',
    `${id} has an address of ${has} only, and endpoint ${endpoint.id} is of type ${endpoint.ipAddressType}`,
    { hint: `an endpoint of type dualstack or ${has.toLowerCase()} is needed` },
  );
}
