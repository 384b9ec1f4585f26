// The faults and records of a region over HTTP, for tests in other processes and for a person with curl: POST changes
// something, GET tells. Loopback only, JSON only; test/region/README.md is its manual.
import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Shape, type Structure, validate } from './api/shape.ts';
import { type Endpoint, endpointStates } from './eice/endpoint.ts';
import { ServiceError } from './errors.ts';
import { type AgentCut, type Cut, type DirectionFaults, noFaults } from './gateway/faults.ts';
import type { GatewaySettings, InstanceState } from './options.ts';
import type { Region } from './region.ts';
import type { Session } from './sessions.ts';

export interface Admin {
  /** `http://127.0.0.1:PORT` */
  url: string;
  stop(): Promise<void>;
}

interface Change {
  input: Structure;
  /** What it does; throws for values that do not fit the region. */
  run(region: Region, input: never): void;
}

const string: Shape = { type: 'string', min: 1 };
const number: Shape = { type: 'integer', min: 0 };
const boolean: Shape = { type: 'boolean' };
const share: Shape = { type: 'integer', min: 0, max: 1 };
const sessionId = string;

const directionFaults: Structure = structure({
  lose: share,
  double: share,
  reorder: share,
  corrupt: share,
  delayMs: number,
  bytesPerSecond: number,
  maxMessageBytes: number,
  of: oneOf('all', 'data', 'acknowledgements'),
});

const lineFaults: Structure = structure({ delayMs: number, bytesPerSecond: number });

const changes: Record<string, Change> = {
  '/faults': change(
    structure({ up: directionFaults, down: directionFaults }),
    (region, { up = {}, down = {} }: { up?: object; down?: object }) =>
      region.faults.set({ up: withLimits(up), down: withLimits(down) }),
  ),
  '/faults/clear': change(structure({}), (region) => {
    region.faults.clear();
    for (const line of Object.values(region.eiceFaults)) Object.assign(line, { delayMs: 0, bytesPerSecond: Infinity });
    region.apiFaults.clear();
    region.refuseTokens(0);
  }),
  '/cut': change(
    structure({ by: oneOf('close', 'reset', 'freeze'), code: number, reason: string, ms: number, sessionId }, 'by'),
    (region, { sessionId, ...cut }: Cut & { sessionId?: string }) => {
      checkCut(cut);
      region.cut(cut, known(region, sessionId));
    },
  ),
  '/cut-tunnel': change(
    structure(
      { by: oneOf('close', 'reset', 'freeze'), code: number, reason: string, ms: number, tunnelId: string },
      'by',
    ),
    (region, { tunnelId, ...cut }: Cut & { tunnelId?: string }) => {
      checkCut(cut);
      if (tunnelId !== undefined && !region.tunnels.some((tunnel) => tunnel.tunnelId === tunnelId)) {
        throw new Error(`there is no tunnel ${tunnelId}`);
      }
      region.cutTunnel(cut, tunnelId);
    },
  ),
  '/cut-agent': change(
    structure({ ms: number, meanwhile: oneOf('buffer', 'drop'), sessionId }),
    (region, { sessionId, ...cut }: AgentCut & { sessionId?: string }) =>
      region.cutAgent(cut, known(region, sessionId)),
  ),
  '/away': change(structure({ ms: number }, 'ms'), (region, { ms }: { ms: number }) => {
    region.goAway();
    setTimeout(() => void region.comeBack(), ms).unref();
  }),
  '/refuse-tokens': change(
    structure({ times: number, sessionId }, 'times'),
    (region, { times, sessionId }: { times: number; sessionId?: string }) =>
      region.refuseTokens(times, known(region, sessionId)),
  ),
  '/fail': change(
    structure(
      { action: string, code: string, message: string, status: number, times: number, sessionId },
      'action',
      'code',
    ),
    (region, { action, ...fault }: { action: string; code: string; sessionId?: string }) => {
      known(region, fault.sessionId);
      region.apiFaults.fail(action, fault);
    },
  ),
  '/expire-credentials': change(
    structure({ accessKeyId: string }),
    (region, { accessKeyId }: { accessKeyId?: string }) => region.identities.expire(accessKeyId),
  ),
  '/gateway': change(
    structure({
      requireCurrentStreamUrl: boolean,
      openTimeoutMs: number,
      legLifetimeMs: number,
      awayMessages: number,
    }),
    (region, input: Partial<GatewaySettings>) => void Object.assign(region.gateway, input),
  ),
  '/quota': change(
    structure({ action: string, perSecond: number }, 'action', 'perSecond'),
    (region, { action, perSecond }: { action: string; perSecond: number }) => {
      region.quotas.perSecond[action] = perSecond;
    },
  ),
  '/node': change(
    structure(
      {
        instanceId: string,
        online: boolean,
        state: oneOf('pending', 'running', 'shutting-down', 'terminated', 'stopping', 'stopped'),
      },
      'instanceId',
    ),
    (region, { instanceId, ...now }: { instanceId: string; online?: boolean; state?: InstanceState }) => {
      const node = region.nodes.get(instanceId);
      if (node === undefined) throw new Error(`there is no node ${instanceId}`);
      Object.assign(node, now);
    },
  ),
  '/endpoint': change(
    structure(
      { endpointId: string, state: oneOf(...endpointStates), maxConnections: number, egress: boolean },
      'endpointId',
    ),
    (region, { endpointId, ...now }: { endpointId: string } & Partial<Endpoint>) => {
      const endpoint = region.endpoints.get(endpointId);
      if (endpoint === undefined) throw new Error(`there is no endpoint ${endpointId}`);
      Object.assign(endpoint, now);
    },
  ),
  '/eice-faults': change(
    structure({ up: lineFaults, down: lineFaults }),
    (region, { up = {}, down = {} }: { up?: object; down?: object }) => {
      Object.assign(region.eiceFaults.up, withLimits(up));
      Object.assign(region.eiceFaults.down, withLimits(down));
    },
  ),
  '/source-ip': change(structure({ address: string }), (region, { address }: { address?: string }) =>
    region.setSourceIp(address),
  ),
  '/clock': change(structure({ offsetMs: { type: 'integer' } }, 'offsetMs'), (region, input: { offsetMs: number }) =>
    region.setClockOffset(input.offsetMs),
  ),
};

const records: Record<string, (region: Region) => object> = {
  '/sessions': (region) => region.sessions.map(describeSession),
  '/tunnels': (region) => region.tunnels,
  '/pushes': (region) => region.pushes,
  '/commands': (region) => region.commands,
  '/requests': (region) => region.requests,
  '/faults': ({ faults: { up, down } }) => ({ up, down }),
  '/gateway': (region) => region.gateway,
};

export async function startAdmin(region: Region): Promise<Admin> {
  const server = http.createServer((request, response) => void handle(region, request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async stop() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function handle(region: Region, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = request.url ?? '';
  try {
    if (request.method === 'GET' && Object.hasOwn(records, path)) return write(response, 200, records[path]!(region));
    if (request.method !== 'POST' || !Object.hasOwn(changes, path)) return write(response, 404, { error: 'not found' });
    const { input: shape, run } = changes[path]!;
    const input: unknown = JSON.parse((await readAll(request)) || '{}');
    validate(input, shape);
    refuseUnknown(input, shape);
    run(region, input as never);
    write(response, 200, {});
  } catch (error) {
    write(response, 400, { error: error instanceof ServiceError ? error.message : String((error as Error).message) });
  }
}

/** AWS ignores members that it does not know; here such a one is a mistake. */
function refuseUnknown(input: Record<string, unknown>, { members }: Structure): void {
  for (const [name, value] of Object.entries(input)) {
    const member = Object.hasOwn(members, name) ? members[name] : undefined;
    if (member === undefined) throw new Error(`there is no ${name} to set`);
    if (member.type === 'structure' && typeof value === 'object' && value !== null)
      refuseUnknown(value as Record<string, unknown>, member);
  }
}

/** JSON has no Infinity: null stands for no limit, and for no fault of the other kinds. */
function withLimits(given: object): Partial<DirectionFaults> {
  return Object.fromEntries(
    Object.entries(given).map(([name, value]) => [name, value ?? noFaults[name as keyof DirectionFaults]]),
  );
}

function checkCut(cut: Cut): void {
  if (cut.by === 'close' && cut.code === undefined) throw new Error('to close needs a code');
  if (cut.by === 'freeze' && cut.ms === undefined) throw new Error('to freeze needs ms');
}

function known(region: Region, id: string | undefined): string | undefined {
  if (id !== undefined && !region.sessions.some((session) => session.sessionId === id)) {
    throw new Error(`there is no session ${id}`);
  }
  return id;
}

function describeSession(session: Session): object {
  const { sessionId, target, status, active, connected, startDate, endDate, endCause, output, opens, traffic } =
    session;
  const document = session.document.name;
  const owner = session.owner.arn;
  return {
    ...{ sessionId, target, document, owner, status, active, connected, startDate, endDate, endCause, output },
    ...{ opens, traffic },
  };
}

function structure(members: Record<string, Shape>, ...required: string[]): Structure {
  return { type: 'structure', members, required };
}

function oneOf(...values: readonly string[]): Shape {
  return { type: 'string', values: [...values] };
}

function change<Input>(input: Structure, run: (region: Region, input: Input) => void): Change {
  return { input, run: run as Change['run'] };
}

function write(response: ServerResponse, status: number, body: object): void {
  const text = `${JSON.stringify(body, (_name, value) => (value === Infinity ? null : value))}\n`;
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) });
  response.end(text);
}

async function readAll(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) text += chunk;
  return text;
}
