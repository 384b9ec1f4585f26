// The message gateway: takes websocket upgrades on the StreamUrls of sessions, checks signature and permission
// (protocol.md 2.2), waits for OpenDataChannel (2.3) and hands the leg to the session's channel. How AWS refuses each
// of these is not known (section 14): an upgrade is refused with a status and a JSON body, a token with close 1008.
import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { findDestination } from '../agent/destination.ts';
import { newRecord } from '../api/front.ts';
import type { RequestRecord } from '../api/service.ts';
import { ServiceError } from '../errors.ts';
import type { Principal } from '../identity.ts';
import type { GatewaySettings, StartAgent } from '../options.ts';
import type { Session } from '../sessions.ts';
import { isSigned, verifySignature } from '../sigv4.ts';
import { type ManagedNode, originOf, type RegionState } from '../state.ts';
import { Channel } from './channel.ts';
import { ClientLeg } from './client-leg.ts';
import { type AgentCut, type Cut, type Faults, seededRandom } from './faults.ts';
import { endingAgent } from './no-agent.ts';
import { parseOpenDataChannel } from './open-data-channel.ts';

/** Above anything a client is known to send: the agent took 1 MiB (protocol.md section 16). */
const maxFrameBytes = 2 << 20;

export interface GatewayParts {
  state: RegionState;
  settings: GatewaySettings;
  faults: Faults;
  seed: number;
  startAgent: StartAgent;
  requests: RequestRecord[];
}

export class Gateway {
  readonly #parts: GatewayParts;
  readonly #channels = new Map<string, Channel>();
  readonly #sockets = new Set<Duplex>();
  readonly #server = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: maxFrameBytes });

  constructor(parts: GatewayParts) {
    this.#parts = parts;
  }

  /** The agent of `node` opens its leg of `session`. */
  attach(session: Session, node: ManagedNode): void {
    const { state, settings, seed } = this.#parts;
    const agent = this.#startAgent(session, node);
    const random = seededRandom(seed + state.sessions.all.length);
    const { faults = this.#parts.faults, awayMessages } = node;
    const given = { table: state.sessions, settings, faults, random };
    const channel = new Channel(session, agent, { ...given, ...(awayMessages !== undefined && { awayMessages }) });
    channel.onDone = () => this.#channels.delete(session.sessionId);
    this.#channels.set(session.sessionId, channel);
  }

  /** The server's `upgrade` listener; `connection` is the TCP connection under `socket`. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, connection: Socket): void {
    socket.on('error', () => socket.destroy());
    const record = this.#newRecord(request);
    this.#parts.requests.push(record);
    try {
      const { session, principal } = this.#admit(request, record);
      this.#server.handleUpgrade(request, socket, head, (webSocket) => {
        this.#sockets.add(socket);
        socket.once('close', () => this.#sockets.delete(socket));
        this.#awaitOpen(webSocket, { socket, connection }, session, principal);
      });
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      // AWS's front answers wrong signatures and missing permissions on an upgrade with 403.
      record.status = error.code === 'BadRequestException' ? 400 : 403;
      record.error = error.code;
      refuse(socket, error, record, this.#parts.state.serviceTime());
    }
  }

  /** Cuts the client's leg of one session, or of all. */
  cut(cut: Cut, sessionId?: string): void {
    for (const channel of this.#channels.values()) {
      if (sessionId === undefined || channel.session.sessionId === sessionId) channel.cut(cut);
    }
  }

  /** Cuts the agent's leg of one session, or of all. */
  cutAgent(cut: AgentCut, sessionId?: string): void {
    for (const channel of this.#channels.values()) {
      if (sessionId === undefined || channel.session.sessionId === sessionId) channel.cutAgent(cut);
    }
  }

  stop(): void {
    for (const channel of this.#channels.values()) {
      channel.session.onEnd = () => {};
      channel.session.end('terminated', '');
      channel.destroy();
    }
    for (const socket of this.#sockets) socket.destroy();
  }

  #startAgent(session: Session, node: ManagedNode): ReturnType<StartAgent> {
    if (session.document.sessionType !== 'Port') {
      return endingAgent(`Sessions of ${session.document.name} are not served by this simulated instance.`);
    }
    return this.#parts.startAgent({
      destination: findDestination(session.properties, node),
      sessionId: session.sessionId,
      properties: session.properties,
      agentVersion: node.agentVersion,
      clock: this.#parts.state.clock,
      ...node.agent,
    });
  }

  #admit(request: IncomingMessage, record: RequestRecord): { session: Session; principal: Principal | undefined } {
    const { state, settings } = this.#parts;
    const target = request.url ?? '';
    const sessionId = /^\/v1\/data-channel\/([^/?]+)\?/.exec(target)?.[1] ?? '';
    record.input = { SessionId: sessionId };
    const principal = this.#authenticate(request);
    record.accessKeyId = principal?.accessKeyId;
    record.arn = principal?.arn;
    const session = state.sessions.find(sessionId);
    if (session === undefined) throw new ServiceError('BadRequestException', 'The session is not known.');
    if (principal !== undefined) {
      const resource = state.arn.session(sessionId, session.owner.account);
      state.identities.authorize(principal, originOf(state, request), 'ssmmessages:OpenDataChannel', resource);
      if (principal.account !== session.owner.account) {
        throw new ServiceError('AccessDeniedException', `User: ${principal.arn} is of another account.`);
      }
    }
    if (!new URLSearchParams(target.split('?')[1]).has('role', 'publish_subscribe')) {
      throw new ServiceError('BadRequestException', 'The role is not publish_subscribe.');
    }
    if (settings.requireCurrentStreamUrl && target !== session.requestTarget) {
      throw new ServiceError('BadRequestException', 'The session is not in this cell.');
    }
    return { session, principal };
  }

  #authenticate(request: IncomingMessage): Principal | undefined {
    const { state, settings } = this.#parts;
    const signed = { method: 'GET', target: request.url ?? '', rawHeaders: request.rawHeaders, body: Buffer.alloc(0) };
    if (!isSigned(signed) && !settings.requireSignature) return undefined;
    return verifySignature(signed, {
      findKey: (id) => state.identities.find(id),
      region: state.region,
      service: 'ssmmessages',
      now: state.serviceTime(),
    });
  }

  #awaitOpen(
    webSocket: WebSocket,
    { socket, connection }: { socket: Duplex; connection: Socket },
    session: Session,
    principal: Principal | undefined,
  ): void {
    const { state, settings } = this.#parts;
    const timeout = state.clock.after(settings.openTimeoutMs, () => webSocket.close(1008, 'OpenDataChannel timed out'));
    webSocket.on('error', () => webSocket.terminate());
    webSocket.once('close', () => timeout.cancel());
    webSocket.once('message', (data, isBinary) => {
      timeout.cancel();
      const open = isBinary ? 'not a TEXT message' : parseOpenDataChannel(String(data), settings.minimumClientVersion);
      if (typeof open === 'string') return webSocket.close(1008, `OpenDataChannel: ${open}`);
      const channel = this.#channels.get(session.sessionId);
      if (channel === undefined || !session.redeemToken(open.tokenValue)) {
        return webSocket.close(1008, 'OpenDataChannel: the token is not valid');
      }
      const { clientId, clientVersion } = open;
      session.opens.push({ time: state.serviceTime(), clientId, clientVersion, accessKeyId: principal?.accessKeyId });
      session.touch();
      channel.open(new ClientLeg(webSocket, socket, connection, state.clock));
    });
  }

  #newRecord(request: IncomingMessage): RequestRecord {
    const record = newRecord(this.#parts.state, request);
    return { ...record, service: 'ssmmessages', action: 'OpenDataChannel', status: 101 };
  }
}

function refuse(socket: Duplex, error: ServiceError, { status, requestId }: RequestRecord, now: number): void {
  const body = JSON.stringify({ __type: error.code, message: error.message });
  socket.end(
    [
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
      `Date: ${new Date(now).toUTCString()}`,
      `x-amzn-RequestId: ${requestId}`,
      `x-amzn-ErrorType: ${error.code}`,
      'Content-Type: application/json',
      `Content-Length: ${Buffer.byteLength(body)}`,
      'Connection: close',
      '',
      body,
    ].join('\r\n'),
  );
}
