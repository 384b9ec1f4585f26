// Dials a websocket: connection, TLS, proxy (the agent's business) and the upgrade, within a bound. What came of it is a
// value, since each transport has its own words for a refusal (protocol.md 2.1, 9.3).
import type { Agent, ClientRequest, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
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
  /** An HTTP answer other than 101. */
  | { outcome: 'refused'; status: number; body: string }
  /** No HTTP answer, or one that is no websocket's; also where `signal` gave up. */
  | { outcome: 'unreachable'; why: string; cause?: unknown };

/** Larger ones end the connection; neither peer is known to come near (protocol.md 2.1, 9.3). */
const maxMessageBytes = 4 * 2 ** 20;
const maxBodyBytes = 4096;

/** Never rejects. */
export function dialWebSocket(options: DialOptions): Promise<Dialled> {
  return new Promise((resolve) => {
    let socket: Socket | undefined;
    const webSocket = new WebSocket(new URL(options.url), {
      headers: options.headers,
      perMessageDeflate: false,
      followRedirects: false,
      maxPayload: maxMessageBytes,
      skipUTF8Validation: true,
      ...(options.agent && { agent: options.agent }),
      finishRequest: (request: ClientRequest) => {
        request.path = requestTarget(options.url);
        request.end();
      },
    });
    const settle = () => {
      timer.cancel();
      options.signal?.removeEventListener('abort', abort);
      webSocket.off('error', onError);
    };
    const fail = (failure: Dialled) => {
      settle();
      webSocket.on('error', () => {});
      webSocket.terminate();
      resolve(failure);
    };
    const unreachable = (why: string, cause?: unknown) => fail({ outcome: 'unreachable', why, cause });
    const onError = (error: Error) => unreachable(error.message, error);
    const abort = () => unreachable('the attempt was given up');
    // Not by ws: its own timeout is that of a socket it has made itself.
    const timer = options.clock.after(options.timeoutMs, () =>
      unreachable(`no answer within ${options.timeoutMs / 1000} s`),
    );
    webSocket.on('error', onError);
    if (options.signal?.aborted) return abort();
    options.signal?.addEventListener('abort', abort, { once: true });
    webSocket.once('unexpected-response', (_request, response) => {
      const status = response.statusCode ?? 0;
      void readBody(response).then((body) => fail({ outcome: 'refused', status, body }));
    });
    webSocket.once('upgrade', (response) => {
      socket = response.socket;
    });
    webSocket.once('open', () => {
      settle();
      resolve({ outcome: 'open', link: new WebSocketLink(webSocket, socket!, options) });
    });
  });
}

/** Path and query as they stand in the URL: a parser could write them differently. */
function requestTarget(url: string): string {
  return /^wss?:\/\/[^/?#]*([^#]*)/i.exec(url)?.[1] || '/';
}

async function readBody(response: IncomingMessage): Promise<string> {
  let body = '';
  try {
    for await (const chunk of response) {
      body += String(chunk);
      if (body.length > maxBodyBytes) break;
    }
  } catch {
    // What came will do.
  }
  return body;
}
