// From an instance's id to the endpoint that leads to it: what EC2 has to be asked for that, and what the settings know.
import type { Ec2Api, InstanceConnectEndpoint } from '../aws/ec2.ts';
import { ConfigError, TransportError } from '../errors.ts';
import { assertRunning, chooseEndpoint, type Route, routeOver, usableStates } from './endpoint.ts';

export interface RouteOptions {
  ec2: Ec2Api;
  /** Whether FIPS endpoints are asked for. */
  fips: boolean;
  /** Taken as it is, also where it lies in another VPC (a peering, a transit gateway). */
  endpointId: string | undefined;
  /** Its host, with or without port: nothing is asked about the endpoint then, and the id must be known. */
  endpointAuthority: string | undefined;
}

/** @throws KeyholeError: AwsError of EC2, TransportError `instance-stopped`, `eice-no-endpoint`, `eice-no-fips` */
export async function findRoute(instanceId: string, options: RouteOptions): Promise<Route> {
  const { ec2, fips, endpointId, endpointAuthority } = options;
  if (endpointAuthority !== undefined && endpointId === undefined) {
    throw new ConfigError('bad-setting', 'eice_endpoint is set without eice_endpoint_id', {
      hint: 'the id of the endpoint is part of what is signed',
    });
  }
  const instance = await ec2.describeInstance(instanceId);
  assertRunning(instance);
  if (endpointId !== undefined && endpointAuthority !== undefined) {
    const endpoint = { ...unknown, id: endpointId, dnsName: endpointAuthority, fipsDnsName: endpointAuthority };
    return routeOver(endpoint, instance, { fips });
  }
  if (endpointId !== undefined) {
    for await (const endpoint of ec2.describeEndpoints({ id: endpointId }, usableStates)) {
      return routeOver(endpoint, instance, { fips });
    }
    throw new TransportError('eice-no-endpoint', `there is no EC2 Instance Connect Endpoint ${endpointId} in use`, {
      hint: 'it is named by eice_endpoint_id; does it exist in this region and account, and is it made?',
    });
  }
  if (instance.vpcId === undefined) {
    throw new TransportError('eice-no-endpoint', `${instanceId} is in no VPC, so no endpoint leads to it`);
  }
  return await chooseEndpoint(instance, ec2.describeEndpoints({ vpcId: instance.vpcId }, usableStates), { fips });
}

/** What isn't known of an endpoint about which nobody is asked: it may reach any address. */
const unknown: Omit<InstanceConnectEndpoint, 'id' | 'dnsName' | 'fipsDnsName'> = {
  arn: undefined,
  state: undefined,
  vpcId: undefined,
  subnetId: undefined,
  ipAddressType: 'dualstack',
};
