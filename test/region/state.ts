// What a region knows, in one place, for its services and its gateway.
import type { IncomingMessage } from 'node:http';
import type { Clock } from '../../src/clock.ts';
import { Arns } from './arn.ts';
import { Boots } from './boots.ts';
import { CommandDocuments } from './commands/command-documents.ts';
import { Commands } from './commands/commands.ts';
import { Documents } from './documents.ts';
import { completeEndpoint, type Endpoint } from './eice/endpoint.ts';
import { defaultAccessKeys, Identities, type Origin } from './identity.ts';
import { KeyPushes } from './key-pushes.ts';
import { defaults, type InstanceState, type NodeOptions, type RegionOptions } from './options.ts';
import { Quotas } from './quota.ts';
import { type Session, SessionTable } from './sessions.ts';

export interface ManagedNode extends Required<NodeOptions> {
  /** Changeable while the region runs: an agent that went away, or came back. */
  online: boolean;
  state: InstanceState;
  launchedAt: number;
}

/** Whether the node's agent can be reached. */
export function connected(node: ManagedNode): boolean {
  return node.online && node.state === 'running';
}

export interface RegionState {
  region: string;
  clock: Clock;
  /** Milliseconds since 1970 on the service's clock. */
  serviceTime(): number;
  /** The same, when the region was started. */
  startedAt: number;
  arn: Arns;
  identities: Identities;
  quotas: Quotas;
  documents: Documents;
  commandDocuments: CommandDocuments;
  commands: Commands;
  nodes: Map<string, ManagedNode>;
  endpoints: Map<string, Endpoint>;
  sessions: SessionTable;
  pushes: KeyPushes;
  boots: Boots;
  /** What callers' addresses are taken for; undefined: their connection's. */
  sourceIp: string | undefined;
  /** The URL at which a session's data channel is opened now. */
  streamUrl(session: Session): string;
  /** A session was started: the node's agent opens its leg. */
  onSession(session: Session, node: ManagedNode): void;
}

/** The state at start. `streamUrl` and `onSession` are the gateway's to fill in. */
export function createState(options: RegionOptions, clock: Clock, serviceTime: () => number): RegionState {
  const region = options.region ?? defaults.region;
  const account = options.account ?? defaults.account;
  const arn = new Arns(region);
  return {
    region,
    clock,
    serviceTime,
    startedAt: serviceTime(),
    arn,
    identities: new Identities(options.accessKeys ?? defaultAccessKeys, options.denials ?? [], {
      account,
      partition: arn.partition,
      region,
    }),
    quotas: new Quotas({ ...defaults.quotas, ...options.quotas }, clock),
    documents: new Documents(options.documents ?? {}),
    commandDocuments: new CommandDocuments(options.commandDocuments ?? {}),
    commands: new Commands(clock, { ...defaults.commands, ...options.commands }),
    nodes: new Map(
      (options.nodes ?? []).map((node, at) => [
        node.instanceId,
        completeNode(node, at, { account, region, now: serviceTime() }),
      ]),
    ),
    endpoints: new Map(
      (options.endpoints ?? []).map((endpoint) => [
        endpoint.endpointId,
        completeEndpoint(endpoint, { account, region }),
      ]),
    ),
    sessions: new SessionTable(clock, serviceTime, { ...defaults.sessions, ...options.sessions }),
    pushes: new KeyPushes(clock, options.keyPushes),
    boots: new Boots(clock),
    sourceIp: options.sourceIp,
    streamUrl: () => '',
    onSession: () => {},
  };
}

/** Where IAM sees a request come from. */
export function originOf(state: RegionState, { socket }: IncomingMessage): Origin {
  return { sourceIp: state.sourceIp ?? socket.remoteAddress ?? '', secure: 'encrypted' in socket };
}

const dayMs = 86_400_000;

function completeNode(
  node: NodeOptions,
  at: number,
  of: { account: string; region: string; now: number },
): ManagedNode {
  return {
    ports: {},
    hosts: {},
    state: 'running',
    publishKeys: () => {},
    runScript: undefined,
    consoleOutput: '',
    hypervisor: 'nitro',
    online: true,
    agentVersion: defaults.agentVersion,
    platformType: 'Linux',
    platformName: 'Debian GNU/Linux',
    platformVersion: '12',
    name: `${node.instanceId}.internal`,
    ipAddress: `10.0.${1 + Math.floor(at / 200)}.${23 + (at % 200)}`,
    ipv6Address: undefined,
    publicIpAddress: undefined,
    vpcId: 'vpc-0123456789abcdef0',
    subnetId: 'subnet-0123456789abcdef0',
    availabilityZone: `${of.region}a`,
    tags: {},
    account: of.account,
    launchedAt: of.now - dayMs,
    boot: defaults.boot,
    faults: undefined,
    awayMessages: undefined,
    agent: {},
    ...node,
  };
}
