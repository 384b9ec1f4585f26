// For tests of the region: AWS's own SDK as the caller, a websocket client that can do everything wrong, and an agent
// that only does what the test says.
import { createHash, createHmac } from 'node:crypto';
import { ResumeSessionCommand, SSMClient, type SSMClientConfig, StartSessionCommand } from '@aws-sdk/client-ssm';
import { SignatureV4 } from '@smithy/signature-v4';
import type { Test } from 'tap';
import { WebSocket } from 'ws';
import type { AgentEnd, AgentLeg } from './agent/agent.ts';
import type { RegionOptions } from './options.ts';
import { type Region, startRegion } from './region.ts';

export const instanceId = 'i-0123456789abcdef0';

export const openMessage = {
  MessageSchemaVersion: '1.0',
  RequestId: '256f10fd-211d-4412-b66d-147b0f0f9fe7',
  TokenValue: '',
  ClientId: '8ac9b2d2-6d3e-4d2b-9a7a-0f7c6f3f2f11',
  ClientVersion: '1.2.896.0',
};

/** The instance's side, without behaviour. */
export class SilentAgent implements AgentLeg {
  readonly received: Buffer[] = [];
  readonly calls: string[] = [];
  /** What `send` answers. */
  room = true;
  onMessage: (message: Buffer) => void = () => {};
  onEnd: (end: AgentEnd) => void = () => {};
  onDrain: () => void = () => {};

  send(message: Buffer): boolean {
    this.received.push(message);
    return this.room;
  }

  /** What came, as text: data messages of the tests are plain words, the gateway's are named by their type. */
  get texts(): string[] {
    return this.received.map(textOf);
  }

  pause(): void {
    this.calls.push('pause');
  }

  resume(): void {
    this.calls.push('resume');
  }

  cancel(reason: string): void {
    this.calls.push(`cancel ${reason}`);
    this.onEnd({ output: reason });
  }

  close(): void {
    this.calls.push('close');
  }
}

export interface Stand {
  region: Region;
  /** In the order of the sessions. */
  agents: SilentAgent[];
  ssm: SSMClient;
}

/** A region with one instance whose agents are silent; everything ends with the test. */
export async function startStand(t: Test, options: RegionOptions = {}): Promise<Stand> {
  const agents: SilentAgent[] = [];
  const region = await startRegion({
    nodes: [{ instanceId }],
    quotas: { StartSession: 1000, ResumeSession: 1000, DescribeSessions: 1000 },
    startAgent: () => {
      const agent = new SilentAgent();
      agents.push(agent);
      return agent;
    },
    ...options,
  });
  t.teardown(() => region.stop());
  return { region, agents, ssm: ssmClient(t, region) };
}

export function ssmClient(t: Test, region: Region, config: SSMClientConfig = {}): SSMClient {
  const client = new SSMClient({ ...clientConfig(region), ...config });
  t.teardown(() => client.destroy());
  return client;
}

/** For any client of AWS's SDK: this region, as the owner of a key, with no retries. Default: the key of `Region.env`. */
export function clientConfig(region: Region, accessKeyId: string = region.env.AWS_ACCESS_KEY_ID!) {
  const { secretAccessKey, sessionToken } = region.identities.find(accessKeyId)!;
  return {
    region: region.region,
    endpoint: region.endpoint,
    maxAttempts: 1,
    credentials: { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) },
  };
}

/** A websocket as a test sees it. */
export interface Leg {
  socket: WebSocket;
  received: Buffer[];
  readonly texts: string[];
  /** With the close code, or the HTTP status and error of a refused upgrade. */
  closed: Promise<{ code: number; reason: string }>;
}

export async function connectLeg(streamUrl: string, headers: Record<string, string> = {}): Promise<Leg> {
  const socket = new WebSocket(streamUrl, { headers, perMessageDeflate: false });
  const received: Buffer[] = [];
  socket.on('message', (data) => received.push(data as Buffer));
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.on('close', (code, reason) => resolve({ code, reason: String(reason) }));
    socket.on('unexpected-response', (_request, response) => {
      resolve({ code: response.statusCode!, reason: String(response.headers['x-amzn-errortype']) });
      response.destroy();
    });
  });
  socket.on('error', () => {});
  await Promise.race([new Promise((resolve) => socket.once('open', resolve)), closed]);
  return {
    socket,
    received,
    get texts() {
      return received.map(textOf);
    },
    closed,
  };
}

/** Of StartSession or ResumeSession. */
export interface SessionAnswer {
  StreamUrl?: string | undefined;
  TokenValue?: string | undefined;
}

/** Upgrade, signed, and OpenDataChannel, as a client does it. */
export async function openLeg(stand: Stand, answer: SessionAnswer): Promise<Leg> {
  const leg = await connectLeg(answer.StreamUrl!, await signUpgrade(stand.region, answer.StreamUrl!));
  leg.socket.send(JSON.stringify({ ...openMessage, TokenValue: answer.TokenValue }));
  await until(() => leg.texts.includes('start_publication'));
  return leg;
}

/** A stand with one session whose both legs are there. */
export async function openSession(t: Test, options: RegionOptions = {}) {
  const stand = await startStand(t, options);
  const answer = await stand.ssm.send(
    new StartSessionCommand({ Target: instanceId, DocumentName: 'AWS-StartSSHSession' }),
  );
  const leg = await openLeg(stand, answer);
  const agent = stand.agents[0]!;
  await until(() => agent.received.length === 1);
  const session = stand.region.sessions[0]!;
  const resume = async () => {
    const resumed = await stand.ssm.send(new ResumeSessionCommand({ SessionId: session.sessionId }));
    return openLeg(stand, resumed);
  };
  return { ...stand, answer, leg, agent, session, resume };
}

/** The headers that AWS's JavaScript signer makes; `date` for a signature of another time. */
export async function signUpgrade(
  region: Region,
  streamUrl: string,
  given: { service?: string; secretAccessKey?: string; date?: Date } = {},
): Promise<Record<string, string>> {
  const url = new URL(streamUrl);
  const signer = new SignatureV4({
    service: given.service ?? 'ssmmessages',
    region: region.region,
    credentials: {
      accessKeyId: region.env.AWS_ACCESS_KEY_ID!,
      secretAccessKey: given.secretAccessKey ?? region.env.AWS_SECRET_ACCESS_KEY!,
    },
    applyChecksum: false,
    sha256: NodeSha256,
  });
  const { headers } = await signer.sign(
    {
      method: 'GET',
      protocol: url.protocol,
      hostname: url.hostname,
      path: url.pathname,
      query: Object.fromEntries(url.searchParams),
      headers: { host: url.host },
    },
    given.date === undefined ? {} : { signingDate: given.date },
  );
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name !== 'host'));
}

/** Waits until `condition` holds; the test's own timeout bounds it. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

function textOf(message: Buffer): string {
  const type = message.length < 116 ? '' : message.toString('latin1', 4, 36).replace(/[\0 ]+$/, '');
  return /^[a-z_]+$/.test(type) ? type : message.toString('latin1');
}

export class NodeSha256 {
  readonly #hash;

  constructor(secret?: string | Uint8Array | ArrayBuffer | ArrayBufferView) {
    this.#hash = secret === undefined ? createHash('sha256') : createHmac('sha256', secret as Uint8Array);
  }

  update(chunk: string | Uint8Array | ArrayBuffer | ArrayBufferView): void {
    this.#hash.update(chunk as Uint8Array);
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }

  reset(): void {}
}
