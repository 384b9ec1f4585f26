// The EC2 Instance Connect Endpoints' own websocket: takes `GET /openTunnel`, checks signature, parameters, permission,
// endpoint, target and the number of connections (protocol.md 9.2 to 9.4), and hands the rest to a tunnel. A refusal is a
// status with a JSON body; but for InvalidParameter, the codes and statuses of refusals are not known.
import { type IncomingMessage, STATUS_CODES } from 'node:http';
import { isIPv6, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { ApiFaults } from '../api/faults.ts';
import { newRecord } from '../api/front.ts';
import type { RequestRecord } from '../api/service.ts';
import { ServiceError } from '../errors.ts';
import { ClientLeg } from '../gateway/client-leg.ts';
import { type Cut, type Faults, seededRandom } from '../gateway/faults.ts';
import { inRange } from '../iam/addresses.ts';
import type { Origin, Principal } from '../identity.ts';
import type { EiceSettings } from '../options.ts';
import { verifySignature } from '../sigv4.ts';
import { type ManagedNode, originOf, type RegionState } from '../state.ts';
import { type Endpoint, inService } from './endpoint.ts';
import { defaultTunnelSeconds, invalid, type OpenTunnel, readOpenTunnel } from './open-tunnel.ts';
import { objectionTo, ServerWebSocket } from './server-web-socket.ts';
import { type Destination, Tunnel } from './tunnel.ts';
import type { TunnelRecord } from './tunnel-record.ts';

const action = 'OpenTunnel';

export interface EiceParts {
  state: RegionState;
  settings: EiceSettings;
  faults: Faults;
  apiFaults: ApiFaults;
  seed: number;
  requests: RequestRecord[];
}

interface Admission {
  principal: Principal;
  sourceIp: string;
  asked: OpenTunnel;
  endpoint: Endpoint;
  node: ManagedNode;
}

export class EiceFront {
  /** Every tunnel since the start, oldest first. */
  readonly records: TunnelRecord[] = [];
  readonly #parts: EiceParts;
  readonly #tunnels = new Set<Tunnel>();

  constructor(parts: EiceParts) {
    this.#parts = parts;
  }

  /** Whether an upgrade is for this front. */
  takes(request: IncomingMessage): boolean {
    return request.url?.split('?', 1)[0] === '/openTunnel';
  }

  /** The server's `upgrade` listener; `connection` is the TCP connection under `socket`. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, connection: Socket): void {
    const { state, settings, requests } = this.#parts;
    socket.on('error', () => socket.destroy());
    const record: RequestRecord = {
      ...newRecord(state, request),
      service: 'ec2-instance-connect',
      action,
      status: 101,
    };
    requests.push(record);
    try {
      const admission = this.#admit(request, record);
      const { clock } = state;
      const { maxFrameBytes } = settings;
      const webSocket = new ServerWebSocket(request, socket, head, { maxFrameBytes, clock });
      this.#open(admission, record, webSocket, new ClientLeg(webSocket, socket, connection, clock));
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      record.error = error.code === 'AccessDeniedException' ? 'AccessDenied' : error.code;
      record.status = error.code.endsWith('Exception') && error.status === 400 ? 403 : error.status;
      refuse(socket, record, error.message, state.serviceTime());
    }
  }

  /** Cuts the client's leg of one tunnel, or of all. */
  cut(cut: Cut, tunnelId?: string): void {
    for (const tunnel of this.#tunnels) {
      if (tunnelId === undefined || tunnel.record.tunnelId === tunnelId) tunnel.cut(cut);
    }
  }

  stop(): void {
    for (const tunnel of this.#tunnels) tunnel.destroy();
  }

  #admit(request: IncomingMessage, record: RequestRecord): Admission {
    const { state, apiFaults } = this.#parts;
    const target = request.url ?? '';
    const objection = objectionTo(request);
    if (objection !== undefined) throw new ServiceError('BadRequest', `No websocket: ${objection}.`);
    const principal = verifySignature(
      { method: 'GET', target, rawHeaders: request.rawHeaders, body: Buffer.alloc(0) },
      {
        findKey: (id) => state.identities.find(id),
        region: state.region,
        service: 'ec2-instance-connect',
        now: state.serviceTime(),
      },
    );
    record.accessKeyId = principal.accessKeyId;
    record.arn = principal.arn;
    const asked = readOpenTunnel(target);
    record.input = asked;
    apiFaults.check(action);
    const endpoint = this.#findEndpoint(asked, principal);
    const origin = originOf(state, request);
    this.#authorize(principal, origin, asked, endpoint);
    if (endpoint === undefined || !inService(endpoint)) {
      throw invalid('InstanceConnectEndpointId', 'Specify an endpoint of yours that is complete');
    }
    const node = this.#findNode(asked, endpoint);
    if (endpoint.connections >= endpoint.maxConnections) {
      throw new ServiceError(
        'LimitExceeded',
        `The EC2 Instance Connect Endpoint has reached its limit of ${endpoint.maxConnections} concurrent connections.`,
        429,
      );
    }
    return { principal, sourceIp: origin.sourceIp, asked, endpoint, node };
  }

  #findEndpoint({ instanceConnectEndpointId: id }: OpenTunnel, { account }: Principal): Endpoint | undefined {
    const endpoint = this.#parts.state.endpoints.get(id);
    return endpoint?.account === account ? endpoint : undefined;
  }

  /** A duration that was not sent counts as the service's own: then a policy that allows less denies. */
  #authorize(principal: Principal, origin: Origin, asked: OpenTunnel, endpoint: Endpoint | undefined): void {
    const { state } = this.#parts;
    const conditions = {
      'ec2-instance-connect:remotePort': String(asked.remotePort),
      'ec2-instance-connect:privateIpAddress': asked.privateIpAddress,
      'ec2-instance-connect:maxTunnelDuration': String(asked.maxTunnelDuration ?? defaultTunnelSeconds),
    };
    state.identities.authorize(
      principal,
      origin,
      { action: `ec2-instance-connect:${action}`, conditions },
      {
        arn: state.arn.endpoint(asked.instanceConnectEndpointId, principal.account),
        tags: endpoint?.tags ?? {},
      },
    );
  }

  /** The instance of the endpoint's VPC that has the address. */
  #findNode({ privateIpAddress: address }: OpenTunnel, endpoint: Endpoint): ManagedNode {
    if (endpoint.ipAddressType !== 'dualstack' && isIPv6(address) !== (endpoint.ipAddressType === 'ipv6')) {
      throw invalid('PrivateIpAddress', `Specify an address of the endpoint's type, ${endpoint.ipAddressType},`);
    }
    const node = [...this.#parts.state.nodes.values()].find(
      ({ instanceId, vpcId, state, ipAddress, ipv6Address = '' }) =>
        instanceId.startsWith('i-') &&
        vpcId === endpoint.vpcId &&
        state !== 'terminated' &&
        (inRange(address, ipAddress) || inRange(address, ipv6Address)),
    );
    if (node === undefined) throw invalid('PrivateIpAddress', "Specify an address in the endpoint's VPC");
    return node;
  }

  #open(
    { principal, sourceIp, asked, endpoint, node }: Admission,
    { requestId: tunnelId }: RequestRecord,
    webSocket: ServerWebSocket,
    leg: ClientLeg,
  ): void {
    const { state, settings, faults, seed } = this.#parts;
    const record: TunnelRecord = {
      ...asked,
      tunnelId,
      instanceId: node.instanceId,
      maxTunnelDuration: asked.maxTunnelDuration ?? defaultTunnelSeconds,
      accessKeyId: principal.accessKeyId,
      arn: principal.arn,
      sourceIp,
      openedAt: state.serviceTime(),
      connectedAt: undefined,
      endedAt: undefined,
      endedBy: undefined,
      closeSent: undefined,
      closeReceived: undefined,
      traffic: { up: { messages: 0, bytes: 0 }, down: { messages: 0, bytes: 0 } },
      pings: 0,
      pongs: 0,
      errors: [],
    };
    this.records.push(record);
    const tunnel = new Tunnel({
      leg,
      webSocket,
      record,
      destination: destinationOf(endpoint, node, asked.remotePort),
      clock: state.clock,
      serviceTime: state.serviceTime,
      settings,
      faults,
      random: seededRandom(seed + this.records.length),
    });
    endpoint.connections += 1;
    this.#tunnels.add(tunnel);
    tunnel.onEnd = () => {
      endpoint.connections -= 1;
    };
    tunnel.onClose = () => this.#tunnels.delete(tunnel);
    tunnel.start();
  }
}

/** Nobody answers at the address of an instance that does not run. */
function destinationOf(endpoint: Endpoint, node: ManagedNode, port: number): Destination {
  if (!endpoint.egress || node.state !== 'running') return 'no answer';
  return node.ports[port] ?? 'refused';
}

function refuse(socket: Duplex, { status, error, requestId }: RequestRecord, message: string, now: number): void {
  const body = JSON.stringify({ ErrorCode: error, Message: message });
  socket.end(
    [
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
      `Date: ${new Date(now).toUTCString()}`,
      `x-amzn-RequestId: ${requestId}`,
      'Content-Type: application/json',
      `Content-Length: ${Buffer.byteLength(body)}`,
      'Connection: close',
      '',
      body,
    ].join('\r\n'),
  );
}
