// AWS settings of a caller, as values: what a test does not give can't be asked.
import type { AwsContext } from '../../src/aws/context.ts';
import type { Ec2Api, Instance, InstanceConnectEndpoint, ListedInstance, NamedInstance } from '../../src/aws/ec2.ts';

/** An EC2 with one instance and some endpoints, in memory. Each may be an error, which is thrown then. */
export class FakeEc2 implements Ec2Api {
  /** As if the API were called there, unencrypted: endpoints on loopback are dialled so too. */
  readonly endpoint = new URL('http://127.0.0.1/');
  readonly calls: string[] = [];
  instance: Instance | Error;
  endpoints: InstanceConnectEndpoint[] | Error;

  constructor(instance: Instance | Error, endpoints: InstanceConnectEndpoint[] | Error = []) {
    this.instance = instance;
    this.endpoints = endpoints;
  }

  async describeInstance(): Promise<Instance> {
    this.calls.push('DescribeInstances');
    if (this.instance instanceof Error) throw this.instance;
    return this.instance;
  }

  async describeNamedInstances(): Promise<NamedInstance[]> {
    throw new Error('a tunnel is opened by id');
  }

  async listInstances(): Promise<ListedInstance[]> {
    throw new Error('a tunnel is opened by id');
  }

  async *describeEndpoints(where: { vpcId: string } | { id: string } | 'all', states: string[]) {
    this.calls.push('DescribeInstanceConnectEndpoints');
    if (this.endpoints instanceof Error) throw this.endpoints;
    yield* this.endpoints.filter(
      ({ id, vpcId, state = '' }) =>
        states.includes(state) && (where === 'all' || ('id' in where ? where.id === id : where.vpcId === vpcId)),
    );
  }

  async consoleOutput(): Promise<string> {
    throw new Error('not asked for');
  }

  async startInstance(): Promise<void> {
    this.calls.push('StartInstances');
    if (this.instance instanceof Error) throw this.instance;
    this.instance.state = 'pending';
  }

  close(): void {}
}

export function fakeAws(parts: Partial<AwsContext>): AwsContext {
  return {
    id: 'caller',
    profile: 'default',
    region: 'eu-west-1',
    fips: false,
    credentialSource: undefined,
    credentials: async () => ({ accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'not a secret' }),
    awsTime: () => Date.UTC(2026, 0, 2, 3, 4, 5),
    learnAwsTime: () => {},
    network: { agentFor: () => undefined },
    close() {},
    ...parts,
  } as AwsContext;
}

export function instance(id: string, about: Partial<Instance> = {}): Instance {
  return {
    id,
    state: 'running',
    vpcId: 'vpc-1',
    subnetId: 'subnet-1',
    ipv4: '10.0.1.23',
    ipv6: undefined,
    launchedAt: Date.UTC(2025, 11, 24),
    ...about,
  };
}

export function endpoint(id: string, about: Partial<InstanceConnectEndpoint> = {}): InstanceConnectEndpoint {
  return {
    id,
    arn: `arn:aws:ec2:eu-west-1:111122223333:instance-connect-endpoint/${id}`,
    state: 'create-complete',
    vpcId: 'vpc-1',
    subnetId: 'subnet-1',
    dnsName: `${id}.ec2-instance-connect-endpoint.eu-west-1.amazonaws.com`,
    fipsDnsName: undefined,
    ipAddressType: 'ipv4',
    ...about,
  };
}
