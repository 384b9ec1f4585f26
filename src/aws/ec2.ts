// What EC2 is asked for a tunnel through an EC2 Instance Connect Endpoint (protocol.md 9.1), and for what an instance wrote
// to its console, as the rest of the program sees it. AWS's client is loaded with the first question (ec2-client.ts): most callers never have one.
import type { EC2ClientConfig } from '@aws-sdk/client-ec2';
import type { Clock } from '../clock.ts';

export interface Instance {
  id: string;
  /** `pending`, `running`, `shutting-down`, `terminated`, `stopping` or `stopped`. */
  state: string;
  vpcId: string | undefined;
  subnetId: string | undefined;
  /** Private. */
  ipv4: string | undefined;
  ipv6: string | undefined;
  /** Of its last start, ms since 1970. */
  launchedAt: number | undefined;
}

export interface InstanceConnectEndpoint {
  id: string;
  arn: string | undefined;
  state: string | undefined;
  vpcId: string | undefined;
  subnetId: string | undefined;
  dnsName: string | undefined;
  fipsDnsName: string | undefined;
  /** Which targets it reaches. */
  ipAddressType: 'ipv4' | 'dualstack' | 'ipv6';
}

/** An instance as it is found by its Name tag. */
export interface NamedInstance {
  id: string;
  name: string;
  state: string;
  zone: string | undefined;
  /** ISO 8601. */
  launchedAt: string | undefined;
}

/** One of all, as a list shows it. */
export interface ListedInstance {
  id: string;
  /** Its Name tag. */
  name: string | undefined;
  state: string;
  /** `Linux/UNIX`, `Windows`, `Red Hat Enterprise Linux`, …: as it is billed. */
  platform: string | undefined;
  vpcId: string | undefined;
  /** Private. */
  address: string | undefined;
}

/** All reject with AwsError (aws/advice.ts). */
export interface Ec2Api {
  /** Where the settings have EC2 called, if not where AWS has it. */
  readonly endpoint: URL | undefined;
  describeInstance(instanceId: string): Promise<Instance>;
  /** Those that have the Name tag, or any where it is undefined, in one of the states; at most `maxListedInstances`. */
  describeNamedInstances(nameTag: string | undefined, states: string[]): Promise<NamedInstance[]>;
  /** All that have not been terminated. */
  listInstances(): Promise<ListedInstance[]>;
  /** Those in one of the states, in a VPC or with an id, or all; the next page is fetched when it is asked for. */
  describeEndpoints(
    where: { vpcId: string } | { id: string } | 'all',
    states: string[],
  ): AsyncIterable<InstanceConnectEndpoint>;
  /**
   * What the instance wrote to its console, 64 KB at most; empty where EC2 has nothing yet.
   * @param latest as of now, which only instances on Nitro have; else as of some minutes after the last start or stop
   */
  consoleOutput(instanceId: string, latest: boolean): Promise<string>;
  /** Harmless for one that runs or starts. */
  startInstance(instanceId: string): Promise<void>;
  close(): void;
}

/** Among more, nobody looks for what was meant. */
export const maxListedInstances = 10_000;

export interface Ec2Options {
  config: EC2ClientConfig & { endpoint?: string };
  region: string;
  /** For messages: where the credentials come from; undefined for keys in the environment. */
  profile: string | undefined;
  clock: Clock;
}

export class LazyEc2 implements Ec2Api {
  readonly endpoint: URL | undefined;
  readonly #options: Ec2Options;
  readonly #starting = new Map<string, Promise<void>>();
  #loading: Promise<Ec2Api> | undefined;

  constructor(options: Ec2Options) {
    this.#options = options;
    this.endpoint = options.config.endpoint === undefined ? undefined : new URL(options.config.endpoint);
  }

  async describeInstance(instanceId: string): Promise<Instance> {
    return await (await this.#client()).describeInstance(instanceId);
  }

  async describeNamedInstances(nameTag: string | undefined, states: string[]): Promise<NamedInstance[]> {
    return await (await this.#client()).describeNamedInstances(nameTag, states);
  }

  async listInstances(): Promise<ListedInstance[]> {
    return await (await this.#client()).listInstances();
  }

  async *describeEndpoints(where: { vpcId: string } | { id: string } | 'all', states: string[]) {
    yield* (await this.#client()).describeEndpoints(where, states);
  }

  async consoleOutput(instanceId: string, latest: boolean): Promise<string> {
    return await (await this.#client()).consoleOutput(instanceId, latest);
  }

  /** Once for those who come together. */
  async startInstance(instanceId: string): Promise<void> {
    let starting = this.#starting.get(instanceId);
    if (starting === undefined) {
      starting = this.#client().then((client) => client.startInstance(instanceId));
      starting = starting.finally(() => this.#starting.delete(instanceId));
      this.#starting.set(instanceId, starting);
    }
    await starting;
  }

  close(): void {
    void this.#loading?.then((client) => client.close());
  }

  #client(): Promise<Ec2Api> {
    this.#loading ??= import('./ec2-client.ts').then(({ ec2Client }) => ec2Client(this.#options, this.endpoint));
    return this.#loading;
  }
}
