// What a simulated region can be told, as plain values, and what holds where nothing is said. Durations are
// milliseconds. AWS's own figures come from protocol.md sections 1, 7 and 11; where the live gateway's behaviour is
// not known (section 14) the default is the strict reading.
import type { Clock } from '../../src/clock.ts';
import type { Log } from '../../src/log.ts';
import type { AgentLeg, AgentSessionOptions } from './agent/agent.ts';
import type { BootSettings } from './boots.ts';
import type { CommandSettings, RunScript } from './commands/commands.ts';
import type { DocumentDefinition } from './documents.ts';
import type { EndpointOptions } from './eice/endpoint.ts';
import type { FaultSettings, Faults } from './gateway/faults.ts';
import type { ConditionBlock } from './iam/conditions.ts';
import type { PolicyDocument } from './iam/policy.ts';
import type { KeyPushSettings } from './key-pushes.ts';

export interface RegionOptions {
  /** Default `eu-west-1`. */
  region?: string;
  /** 12 digits, for every key that names no other. */
  account?: string;
  /** Default: one lasting key of the IAM user `alice`. The first is the one in `Region.env`. */
  accessKeys?: AccessKeyOptions[];
  /** Roles that may be assumed with any key of the region, by ARN. */
  roles?: Record<string, RoleOptions>;
  /** Denied whatever a key's own policies say. */
  denials?: Denial[];
  nodes?: NodeOptions[];
  /** EC2 Instance Connect Endpoints; default none. */
  endpoints?: EndpointOptions[];
  /** Session documents besides AWS's own, by name. */
  documents?: Record<string, DocumentDefinition>;
  /** Documents for SendCommand besides AWS-RunShellScript: by name, the JSON text that CreateDocument was given. */
  commandDocuments?: Record<string, string>;
  commands?: Partial<CommandSettings>;
  /** Calls per second, per account and action, that differ from AWS's defaults. */
  quotas?: Record<string, number>;
  /** Serve https and wss with a certificate of a CA made for this region. */
  tls?: boolean;
  /** Default: any free one. */
  port?: number;
  clock?: Clock;
  /** How far the service's clock is ahead of `clock`. */
  clockOffsetMs?: number;
  /** Replaces the StreamUrl of every answer, for clients that must not believe each. */
  streamUrl?: (streamUrl: string) => string;
  sessions?: SessionOptions;
  keyPushes?: Partial<KeyPushSettings>;
  gateway?: GatewayOptions;
  eice?: Partial<EiceSettings>;
  /** What the services see as every caller's address; default: the connection's. */
  sourceIp?: string;
  /** Seeds every random choice of the faults. */
  seed?: number;
  faults?: FaultSettings;
  /** The instance's side of a Port session; default: the agent of `agent/agent.ts`. */
  startAgent?: StartAgent;
  log?: Log;
}

export interface AccessKeyOptions {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
  /** Milliseconds since 1970, service time. */
  expiresAt?: number;
  account?: string;
  /** Whose key it is: an IAM user's or an assumed role's ARN; default the user `alice`. */
  arn?: string;
  /** What its owner may do, and nothing else; default: everything. */
  policies?: PolicyDocument[];
}

export interface RoleOptions {
  /** The device and the code without which nobody gets in; each code is good once. */
  mfa?: { serial: string; codes: string[] };
  /** What its session may do; default: everything. */
  policies?: PolicyDocument[];
}

export interface Denial {
  action: string;
  /** Pattern of ARNs; default `*`. */
  resource?: string;
  /** Default: none. */
  conditions?: ConditionBlock;
}

export interface NodeOptions {
  /** `i-…` or `mi-…`. */
  instanceId: string;
  /** Where each port of the instance really is. A port that is not here refuses connections. */
  ports?: Record<number, { host: string; port: number }>;
  /** EC2's state of an instance; default `running`. In any other the agent is not there either. */
  state?: InstanceState;
  /** Other machines that its agent can reach, by name or address in lower case: where each of their ports really is. */
  hosts?: Record<string, Record<number, { host: string; port: number }>>;
  /** Of its last start, milliseconds since 1970, service time; default: a day before the region's. */
  launchedAt?: number;
  /** What StartInstances leads to; default: 0.3 s, 7 s, 20 s. */
  boot?: BootSettings;
  /**
   * Called with all keys that are valid for a user now, whenever a push or the end of a key changes them. Default:
   * nothing happens, as on an instance without EC2 Instance Connect.
   */
  publishKeys?: (user: string, publicKeys: string[]) => void;
  /** How its agent runs commands; without it none is delivered. */
  runScript?: RunScript | undefined;
  /** What an instance wrote to its console; default nothing. */
  consoleOutput?: string;
  /** Default `nitro`. */
  hypervisor?: 'nitro' | 'xen';
  /** Whether the agent's control channel is up; default true. */
  online?: boolean;
  agentVersion?: string;
  platformType?: 'Linux' | 'Windows' | 'MacOS';
  platformName?: string;
  platformVersion?: string;
  /** The Name of a hybrid node or the ComputerName of an instance. */
  name?: string;
  /** The private one; default `10.0.1.23`, and one more for each further node. */
  ipAddress?: string;
  /** What EC2 says besides of an instance (`i-…`). */
  ipv6Address?: string | undefined;
  publicIpAddress?: string | undefined;
  vpcId?: string;
  subnetId?: string;
  availabilityZone?: string;
  tags?: Record<string, string>;
  /** Default: the region's. */
  account?: string;
  /** Between the legs of this node's sessions, in place of the region's. */
  faults?: Faults | undefined;
  /** In place of the gateway's, for this node's sessions. */
  awayMessages?: number | undefined;
  /** How the node's agent departs from the observed one; see `AgentSessionOptions`. */
  agent?: Pick<AgentSessionOptions, 'refusedPortDelayMs' | 'readIntervalMs'>;
}

export type InstanceState = 'pending' | 'running' | 'shutting-down' | 'terminated' | 'stopping' | 'stopped';

export interface SessionOptions {
  /** From the last input of the client, or ResumeSession, until the session ends; default 20 minutes. */
  idleTimeoutMs?: number;
  /** Default: none. */
  maxDurationMs?: number;
  /** How long a TokenValue opens the channel; default one minute. */
  tokenLifetimeMs?: number;
  /** `base32`: 26 characters after the name; `hex`: 17, as before 2024. */
  idStyle?: 'base32' | 'hex';
}

export interface GatewayOptions {
  /** Refuse upgrades without a signature; default true. A wrong one is refused always. */
  requireSignature?: boolean;
  /** Default true: only the StreamUrl of the last answer leads to the session's cell. */
  requireCurrentStreamUrl?: boolean;
  /** Smallest ClientVersion of OpenDataChannel; default 1.2.764.0. `undefined` admits clients that send none. */
  minimumClientVersion?: string | undefined;
  /** From the upgrade until OpenDataChannel; default 10 s. */
  openTimeoutMs?: number;
  /** After this a client's leg is closed with 1000 "Bye"; default one hour. */
  legLifetimeMs?: number;
  /** How many messages of the agent wait while the client's leg is away; later ones are dropped. Default 64. */
  awayMessages?: number;
  /** 112 with NUL padding as third-party clients report it, or 116 (protocol.md 3.2). */
  channelClosedHeader?: 112 | 116;
}

export interface EiceSettings {
  /** Until a target that does not answer counts as unreachable; default 10 s. */
  connectTimeoutMs: number;
  /** Between the service's pings; default: it sends none. */
  pingIntervalMs: number | undefined;
  /** A larger message closes the tunnel with 1009; default 65,536. */
  maxFrameBytes: number;
  /** How a tunnel is closed whose target cannot be reached; the code is not known but for not being 1000. */
  unreachable: { code: number; reason: string };
  /** How it is closed when its time is over; neither is known. */
  expired: { code: number; reason: string };
  /** How it is closed when the target resets the connection; neither is known. */
  lost: { code: number; reason: string };
}

export type StartAgent = (options: AgentSessionOptions) => AgentLeg;

export const defaults = {
  region: 'eu-west-1',
  account: '111122223333',
  accessKey: {
    accessKeyId: 'AKIASIMULATEDREGION1',
    secretAccessKey: 'simulated/region+not+a+secret/of+anybody',
  },
  agentVersion: '3.3.1142.0',
  /** protocol.md section 11. */
  quotas: {
    StartSession: 3,
    ResumeSession: 6,
    TerminateSession: 6,
    DescribeSessions: 6,
    DescribeInstanceInformation: 6,
    GetConnectionStatus: 50,
    SendSSHPublicKey: 10, // There is one; its size is not known.
  } as Record<string, number>,
  sessions: {
    idleTimeoutMs: 20 * 60_000,
    maxDurationMs: undefined as number | undefined,
    tokenLifetimeMs: 60_000,
    idStyle: 'base32' as 'base32' | 'hex',
  },
  keyPushes: { lifetimeMs: 60_000 },
  commands: { visibleAfterMs: 350, deliveryMs: 100 } as CommandSettings,
  boot: { visibleMs: 300, runningMs: 7_000, onlineMs: 20_000 } as BootSettings,
  gateway: {
    requireSignature: true,
    requireCurrentStreamUrl: true,
    minimumClientVersion: '1.2.764.0' as string | undefined,
    openTimeoutMs: 10_000,
    legLifetimeMs: 60 * 60_000,
    awayMessages: 64,
    channelClosedHeader: 112 as 112 | 116,
  },
  eice: {
    connectTimeoutMs: 10_000,
    pingIntervalMs: undefined,
    maxFrameBytes: 65_536,
    unreachable: { code: 1011, reason: 'Unable to connect to target' },
    expired: { code: 1008, reason: 'Maximum tunnel duration reached' },
    lost: { code: 1011, reason: 'Connection to target lost' },
  } as EiceSettings,
};

export type SessionSettings = typeof defaults.sessions;
export type GatewaySettings = typeof defaults.gateway;
