// Dials a websocket: connection, TLS, proxy (the agent's business) and the upgrade (RFC 6455 section 4.1), within a bound.
// What came of it is a value, since each transport has its own words for a refusal (protocol.md 2.1, 9.3).
import { createHash, randomBytes } from 'node:crypto';
import { type Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { type LinkOptions, WebSocketLink } from './link.ts';

export interface DialOptions extends LinkOptions {
  /** Used byte for byte: path and query go on the wire as they stand here. */
  url: string;
  headers: Record<string, string>;
  /** Makes the TCP and TLS connection: certificate authorities and proxies are its business. */
  agent?: Agent | undefined;
  /** For the TCP connection and the upgrade. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
}

export type Dialled =
  | { outcome: 'open'; link: WebSocketLink }
  /** An HTTP answer other than 101. `date` is its Date, ms since 1970. */
  | { outcome: 'refused'; status: number; date: number | undefined; body: string }
  /** No HTTP answer, or one that is no websocket's; also where `signal` gave up. */
  | { outcome: 'unreachable'; why: string; cause?: unknown };

const maxBodyBytes = 4096;
/** On a connection that was there already (aws/ready-agent.ts): one that has died meanwhile gives no answer at all. */
const readyTimeoutMs = 3_000;

/** Never rejects. */
export async function dialWebSocket(options: DialOptions): Promise<Dialled> {
  const start = options.clock.now();
  let wasReady = false;
  const dialled = await attempt(options, () => {
    wasReady = true;
  });
  const { timeoutMs, signal } = options;
  const leftMs = start + timeoutMs - options.clock.now();
  if (!wasReady || dialled.outcome !== 'unreachable' || signal?.aborted || leftMs <= 0) return dialled;
  return await attempt({ ...options, timeoutMs: leftMs });
}

/** @param onReady the connection was there already */
function attempt(options: DialOptions, onReady?: () => void): Promise<Dialled> {
  const { url, headers, agent, clock, timeoutMs, signal } = options;
  if (signal?.aborted) return Promise.resolve({ outcome: 'unreachable', why: 'the attempt was given up' });
  return new Promise((resolve) => {
    const { protocol, hostname, port } = new URL(url);
    const isSecure = protocol === 'wss:';
    const key = randomBytes(16).toString('base64');
    const request = (isSecure ? httpsRequest : httpRequest)({
      host: hostname.replace(/^\[|\]$/g, ''),
      port: port || (isSecure ? 443 : 80),
      path: requestTarget(url),
      // No agent of this process's: what it keeps alive is not ours.
      agent: agent ?? false,
      headers: {
        ...headers,
        'Sec-WebSocket-Version': '13',
        'Sec-WebSocket-Key': key,
        Connection: 'Upgrade',
        Upgrade: 'websocket',
      },
    });
    const settle = (dialled: Dialled) => {
      timer.cancel();
      signal?.removeEventListener('abort', abort);
      if (dialled.outcome !== 'open') request.destroy();
      resolve(dialled);
    };
    const unreachable = (why: string, cause?: unknown) => settle({ outcome: 'unreachable', why, cause });
    const abort = () => unreachable('the attempt was given up');
    const bound = (ms: number) => clock.after(ms, () => unreachable(`no answer within ${ms / 1000} s`));
    let timer = bound(timeoutMs);
    request.once('socket', (socket: Socket | TLSSocket) => {
      const isReady = !socket.connecting && 'authorized' in socket && socket.authorized;
      if (onReady === undefined || !isReady) return;
      onReady();
      timer.cancel();
      timer = bound(Math.min(timeoutMs, readyTimeoutMs));
    });
    signal?.addEventListener('abort', abort, { once: true });
    request.on('error', (error) => unreachable(error.message, error)); // for good: it also follows destroy()
    request.once('response', (response) => {
      const status = response.statusCode ?? 0;
      const date = Date.parse(response.headers.date ?? '') || undefined;
      void readBody(response).then((body) => settle({ outcome: 'refused', status, date, body }));
    });
    request.once('upgrade', (response, socket, head) => {
      const objection = objectionTo(response, key);
      if (objection === undefined) {
        settle({ outcome: 'open', link: new WebSocketLink(socket as Socket, head, options) });
      } else {
        socket.destroy();
        unreachable(objection);
      }
    });
    request.end();
  });
}

/** Path and query as they stand in the URL: a parser could write them differently. */
function requestTarget(url: string): string {
  const target = /^wss?:\/\/[^/?#]*([^#]*)/i.exec(url)?.[1] ?? '';
  return target.startsWith('/') ? target : `/${target}`;
}

/** What a 101 must have (RFC 6455 section 4.1), and must not: we offer no extension and no subprotocol. */
function objectionTo({ headers }: IncomingMessage, key: string): string | undefined {
  const tokens = headers.connection?.toLowerCase().split(/\s*,\s*/);
  if (headers.upgrade?.toLowerCase() !== 'websocket' || !tokens?.includes('upgrade'))
    return 'the answer upgrades to something else than a websocket';
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  if (headers['sec-websocket-accept'] !== accept) return 'the answer is to the websocket of somebody else';
  if (headers['sec-websocket-extensions'] !== undefined || headers['sec-websocket-protocol'] !== undefined)
    return 'the answer has what was not asked for';
  return undefined;
}

async function readBody(response: IncomingMessage): Promise<string> {
  let body = '';
  try {
    for await (const chunk of response.setEncoding('utf8')) {
      body += chunk;
      if (body.length > maxBodyBytes) break;
    }
  } catch {
    // What came will do.
  }
  return body;
}
