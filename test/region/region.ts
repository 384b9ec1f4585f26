// The simulated AWS region, in this process: one server on loopback with the APIs, the message gateway and the EC2
// Instance Connect Endpoints of one region (protocol.md sections 1, 2 and 9), strict where AWS is, in front of its nodes
// and their agents. Clients reach it by AWS's ordinary settings alone, see `Region.env`.
import { writeFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { systemClock } from '../../src/clock.ts';
import { startAgentSession } from './agent/agent.ts';
import { ec2Service } from './api/ec2.ts';
import { ApiFaults } from './api/faults.ts';
import { ApiFront } from './api/front.ts';
import { instanceConnectService } from './api/instance-connect.ts';
import type { RequestRecord } from './api/service.ts';
import { ssmService } from './api/ssm.ts';
import { stsService } from './api/sts.ts';
import { createServerCertificate, type ServerCertificate } from './certificate.ts';
import type { Invocation } from './commands/commands.ts';
import { type Endpoint, nameEndpoint } from './eice/endpoint.ts';
import { EiceFront } from './eice/front.ts';
import type { EiceFaults } from './eice/tunnel.ts';
import type { TunnelRecord } from './eice/tunnel-record.ts';
import { type AgentCut, type Cut, Faults } from './gateway/faults.ts';
import { Gateway } from './gateway/gateway.ts';
import type { Identities } from './identity.ts';
import type { KeyPush } from './key-pushes.ts';
import { defaults, type EiceSettings, type GatewaySettings, type RegionOptions } from './options.ts';
import type { Quotas } from './quota.ts';
import type { Session } from './sessions.ts';
import type { SigningKey } from './sigv4.ts';
import { createState, type ManagedNode, type RegionState } from './state.ts';
import { makeTemporaryFolder, removeFolder } from './temporary.ts';

export interface Region {
  readonly region: string;
  /** `http(s)://127.0.0.1:PORT`, for every service. */
  readonly endpoint: string;
  /** Environment variables with which AWS's tools and ours use this region. */
  readonly env: Record<string, string>;
  /** PEM of the CA; undefined without TLS. */
  readonly ca: string | undefined;
  /** Every session since the start, oldest first. */
  readonly sessions: Session[];
  /** Every call and every websocket upgrade since the start, oldest first. */
  readonly requests: RequestRecord[];
  /** Every key that SendSSHPublicKey took since the start, oldest first. */
  readonly pushes: KeyPush[];
  /** Every command that SendCommand took since the start, oldest first. */
  readonly commands: Invocation[];
  readonly nodes: Map<string, ManagedNode>;
  readonly endpoints: Map<string, Endpoint>;
  /** Every tunnel of theirs since the start, oldest first. */
  readonly tunnels: TunnelRecord[];
  readonly identities: Identities;
  readonly quotas: Quotas;
  /** The gateway's settings in use; changes hold for the next leg. */
  readonly gateway: GatewaySettings;
  /** The same of the endpoints, but for the frames' size. */
  readonly eice: EiceSettings;
  /** Between the legs of every session. */
  readonly faults: Faults;
  /** Between the two ends of every tunnel. */
  readonly eiceFaults: EiceFaults;
  /** In place of the APIs' own answers. */
  readonly apiFaults: ApiFaults;
  /** Moves the service's clock against the machine's. */
  setClockOffset(ms: number): void;
  /** What the services take every caller's address for; undefined: the connection's. */
  setSourceIp(address: string | undefined): void;
  /** Cuts the client's leg of one session, or of all. */
  cut(cut: Cut, sessionId?: string): void;
  /** Cuts the client's side of one tunnel, or of all. */
  cutTunnel(cut: Cut, tunnelId?: string): void;
  /** Cuts the agent's leg of one session, or of all. */
  cutAgent(cut?: AgentCut, sessionId?: string): void;
  /** The agent of a node that is not online comes online so much later, in milliseconds. */
  connectLater(instanceId: string, ms: number): void;
  /** The next `times` OpenDataChannel, of one session or of all, are refused for their token. */
  refuseTokens(times: number, sessionId?: string): void;
  /** The network is away: every connection is reset, and new ones are refused until it is back. */
  goAway(): void;
  comeBack(): Promise<void>;
  /** `env`, with the credentials of another key. */
  envFor(accessKeyId: string): Record<string, string>;
  /** Ends everything; nothing is left listening, no timer and no file. */
  stop(): Promise<void>;
}

export async function startRegion(options: RegionOptions = {}): Promise<Region> {
  const clock = options.clock ?? systemClock;
  let clockOffsetMs = options.clockOffsetMs ?? 0;
  const state = createState(options, clock, () => clock.wallTime() + clockOffsetMs);
  const requests: RequestRecord[] = [];
  const faults = new Faults(options.faults);
  const apiFaults = new ApiFaults();
  const settings = { ...defaults.gateway, ...options.gateway };
  const gateway = new Gateway({
    state,
    settings,
    faults,
    seed: options.seed ?? 1,
    startAgent: options.startAgent ?? startAgentSession,
    requests,
  });
  const eiceFaults = new Faults();
  const eiceSettings = { ...defaults.eice, ...options.eice };
  const eice = new EiceFront({
    state,
    settings: eiceSettings,
    faults: eiceFaults,
    apiFaults,
    seed: options.seed ?? 1,
    requests,
  });
  const services = [
    ssmService(state),
    instanceConnectService(state),
    ec2Service(state),
    stsService(state, options.roles ?? {}),
  ];
  const front = new ApiFront(state, services, apiFaults, requests);

  // Certificates are judged by the machine's clock, whatever the service's says.
  const certificate = options.tls === true ? createServerCertificate(clock.wallTime()) : undefined;
  const server = certificate === undefined ? http.createServer() : https.createServer(certificate);
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('request', (request, response) => void front.handle(request, response));
  server.on('upgrade', (request, socket, head) => {
    // Over TLS this is another object than the connection.
    const connection = [...sockets].find(({ remotePort }) => remotePort === (socket as Socket).remotePort);
    const taker = eice.takes(request) ? eice : gateway;
    if (connection !== undefined) taker.upgrade(request, socket, head, connection);
  });
  const listen = (port: number) =>
    new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', () => {
        server.off('error', reject);
        resolve();
      });
    });
  await listen(options.port ?? 0);

  const { port } = server.address() as AddressInfo;
  const authority = `127.0.0.1:${port}`;
  for (const endpoint of state.endpoints.values()) nameEndpoint(endpoint, port);
  const secure = certificate === undefined ? '' : 's';
  connectParts(state, gateway, `ws${secure}://${authority}`, options.streamUrl);
  const folder = certificate === undefined ? undefined : makeTemporaryFolder('ca');
  const env = {
    ...baseEnv(state, `http${secure}://${authority}`, options),
    ...(certificate === undefined ? {} : await writeCa(folder!, certificate)),
  };

  return {
    region: state.region,
    endpoint: `http${secure}://${authority}`,
    env,
    ca: certificate?.ca,
    sessions: state.sessions.all,
    requests,
    pushes: state.pushes.all,
    commands: state.commands.all,
    nodes: state.nodes,
    endpoints: state.endpoints,
    tunnels: eice.records,
    identities: state.identities,
    quotas: state.quotas,
    gateway: settings,
    eice: eiceSettings,
    faults,
    eiceFaults,
    apiFaults,
    setClockOffset(ms) {
      clockOffsetMs = ms;
    },
    setSourceIp(address) {
      state.sourceIp = address;
    },
    cut: (cut, sessionId) => gateway.cut(cut, sessionId),
    cutTunnel: (cut, tunnelId) => eice.cut(cut, tunnelId),
    cutAgent: (cut = {}, sessionId) => gateway.cutAgent(cut, sessionId),
    connectLater(instanceId, ms) {
      const node = state.nodes.get(instanceId);
      if (node === undefined) throw new Error(`there is no node ${instanceId}`);
      state.boots.connect(node, ms);
    },
    refuseTokens: (times, sessionId) => state.sessions.refuseTokens(times, sessionId),
    goAway() {
      server.close();
      for (const socket of sockets) socket.resetAndDestroy();
    },
    comeBack: () => listen(port),
    envFor: (accessKeyId) => withCredentials(env, state.identities.find(accessKeyId)),
    async stop() {
      gateway.stop();
      eice.stop();
      state.pushes.stop();
      state.commands.stop();
      state.boots.stop();
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
      if (folder !== undefined) removeFolder(folder);
    },
  };
}

function connectParts(
  state: RegionState,
  gateway: Gateway,
  base: string,
  override: RegionOptions['streamUrl'] = (streamUrl) => streamUrl,
): void {
  state.streamUrl = (session) => override(`${base}${session.requestTarget}`);
  state.onSession = (session, node) => gateway.attach(session, node);
}

/** For AWS's tools. */
function baseEnv(state: RegionState, endpoint: string, options: RegionOptions): Record<string, string> {
  const key = options.accessKeys?.[0] ?? defaults.accessKey;
  const env = {
    AWS_ENDPOINT_URL: endpoint,
    AWS_ENDPOINT_URL_SSM: endpoint,
    AWS_ENDPOINT_URL_SSMMESSAGES: endpoint,
    AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT: endpoint,
    AWS_ENDPOINT_URL_EC2: endpoint,
    AWS_ENDPOINT_URL_STS: endpoint,
    AWS_REGION: state.region,
    AWS_DEFAULT_REGION: state.region,
    AWS_EC2_METADATA_DISABLED: 'true',
  };
  return withCredentials(env, key);
}

function withCredentials(env: Record<string, string>, key: SigningKey | undefined): Record<string, string> {
  if (key === undefined) throw new Error('there is no such key');
  const { AWS_SESSION_TOKEN: _, ...others } = env;
  return {
    ...others,
    AWS_ACCESS_KEY_ID: key.accessKeyId,
    AWS_SECRET_ACCESS_KEY: key.secretAccessKey,
    ...(key.sessionToken === undefined ? {} : { AWS_SESSION_TOKEN: key.sessionToken }),
  };
}

async function writeCa(folder: string, { ca }: ServerCertificate): Promise<Record<string, string>> {
  const file = join(folder, 'ca.pem');
  await writeFile(file, ca);
  return { AWS_CA_BUNDLE: file, NODE_EXTRA_CA_CERTS: file, SSL_CERT_FILE: file };
}
