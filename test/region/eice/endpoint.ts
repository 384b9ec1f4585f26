// EC2 Instance Connect Endpoints as the region has them (protocol.md 9.1 and 9.4).

export const endpointStates = [
  'create-in-progress',
  'create-complete',
  'create-failed',
  'delete-in-progress',
  'delete-complete',
  'delete-failed',
  'update-in-progress',
  'update-complete',
  'update-failed',
] as const;

export type EndpointState = (typeof endpointStates)[number];

export interface EndpointOptions {
  /** `eice-` and 17 hex digits. */
  endpointId: string;
  /** Default: the nodes' default VPC, subnet and availability zone. */
  vpcId?: string;
  subnetId?: string;
  availabilityZone?: string;
  /** Default `create-complete`. */
  state?: EndpointState;
  stateMessage?: string | undefined;
  /** With a port where it is not 443. Default: `127.0.0.1` and the region's own port. */
  dnsName?: string;
  /** Default: none, as in most regions. */
  fipsDnsName?: string | undefined;
  /** A FIPS name though none is given: `localhost` and the region's own port. */
  fips?: boolean;
  /** Default `ipv4`. */
  ipAddressType?: 'ipv4' | 'ipv6' | 'dualstack';
  preserveClientIp?: boolean;
  tags?: Record<string, string>;
  /** Default: the region's. */
  account?: string;
  /** Concurrent connections; default 20. */
  maxConnections?: number;
  /** Whether security groups let the endpoint reach instances; default true. Otherwise these do not answer. */
  egress?: boolean;
}

/** Changeable while the region runs. */
export interface Endpoint extends Required<EndpointOptions> {
  /** How many tunnels are open. */
  connections: number;
}

export function completeEndpoint(options: EndpointOptions, of: { account: string; region: string }): Endpoint {
  return {
    vpcId: 'vpc-0123456789abcdef0',
    subnetId: 'subnet-0123456789abcdef0',
    availabilityZone: `${of.region}a`,
    state: 'create-complete',
    stateMessage: undefined,
    dnsName: '',
    fipsDnsName: undefined,
    fips: false,
    ipAddressType: 'ipv4',
    preserveClientIp: false,
    tags: {},
    account: of.account,
    maxConnections: 20,
    egress: true,
    connections: 0,
    ...options,
  };
}

/** The region listens on `port` now: names that were not given follow from it. */
export function nameEndpoint(endpoint: Endpoint, port: number): void {
  endpoint.dnsName ||= `127.0.0.1:${port}`;
  if (endpoint.fips) endpoint.fipsDnsName ??= `localhost:${port}`;
}

/** Whether it carries tunnels: one that is being modified, or could not be, keeps what it had (protocol.md 9.1). */
export function inService({ state }: Endpoint): boolean {
  return state === 'create-complete' || state.startsWith('update-');
}
