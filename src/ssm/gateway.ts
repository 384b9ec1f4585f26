// One websocket to the message gateway: dial, OpenDataChannel, frames, signs of life (protocol.md section 2).
// It knows no sequence numbers and nothing of what the messages mean; a lost socket is reported once, with its close code.
import type { Agent, ClientRequest, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
import type { Clock, Timer } from '../clock.ts';
import { type KeyholeError, TransportError } from '../errors.ts';

export interface DialOptions {
  /** Used byte for byte: path and query go on the wire as AWS wrote them (protocol.md 1.1). */
  streamUrl: string;
  /** Signature headers (2.2); none for a presigned URL. */
  headers: Record<string, string>;
  /** First message: WebSocket TEXT (2.3). */
  openDataChannel: OpenDataChannel;
  /** Makes the TCP and TLS connection: certificate authorities and proxies are its business. */
  agent?: Agent;
  clock: Clock;
  pingIntervalMs: number;
  /** For the TCP connection and the upgrade. */
  timeoutMs: number;
  signal?: AbortSignal;
}

export interface OpenDataChannel {
  requestId: string;
  tokenValue: string;
  /** The same over all reconnects of a session. */
  clientId: string;
  clientVersion: string;
}

export interface GatewayEvents {
  message(bytes: Buffer): void;
  /** Room again, after send() returned false. */
  drain(): void;
  /** Once; `code` is undefined where the socket was lost without a close frame. */
  close(end: { code: number | undefined; reason: string }): void;
}

/** The agent's largest message is 1,024 bytes of payload today; this leaves room for what may come (protocol.md 2.1). */
const maxMessageBytes = 4 * 2 ** 20;
/** Bytes on their way to the kernel above which the producer waits: some messages of full size. */
const sendBufferBytes = 256 * 1024;
/** A pong may be this late. */
const pongGraceMs = 15_000;
/** How long the peer may take to answer our close frame. */
const closeTimeoutMs = 500;

export class GatewaySocket {
  readonly #webSocket: WebSocket;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #pingIntervalMs: number;
  #events: GatewayEvents | undefined;
  #heardAt: number;
  #timer: Timer | undefined;
  #closeCode: number | undefined;
  #isClosing = false;
  readonly #closed = Promise.withResolvers<void>();

  /** @internal Use dialGateway. */
  constructor(webSocket: WebSocket, socket: Socket, options: DialOptions) {
    this.#webSocket = webSocket;
    this.#socket = socket;
    this.#clock = options.clock;
    this.#pingIntervalMs = options.pingIntervalMs;
    this.#heardAt = this.#clock.now();
    webSocket.pause();
    const heard = () => {
      this.#heardAt = this.#clock.now();
    };
    webSocket.on('message', (bytes: Buffer) => {
      heard();
      this.#events?.message(bytes);
    });
    webSocket.on('ping', heard);
    webSocket.on('pong', heard);
    webSocket.on('error', () => {}); // 'close' follows and is what counts
    webSocket.on('close', (code, reason) => {
      this.#timer?.cancel();
      this.#closed.resolve();
      // ws says 1006 where there was no close frame; RFC 6455 7.4.1 keeps that number off the wire.
      this.#closeCode = code === 1006 ? undefined : code;
      this.#events?.close({ code: this.#closeCode, reason: reason.toString('utf8') });
    });
    socket.on('drain', () => this.#events?.drain());
    this.#keepAlive();
  }

  /** Attaches the one reader; until then nothing is read. */
  start(events: GatewayEvents): void {
    this.#events = events;
    if (this.#webSocket.readyState === WebSocket.CLOSED) events.close({ code: this.#closeCode, reason: '' });
    else this.#webSocket.resume();
  }

  get isOpen(): boolean {
    return this.#webSocket.readyState === WebSocket.OPEN;
  }

  /** Whether a further message may be sent before `drain`. */
  get hasRoom(): boolean {
    return this.#webSocket.bufferedAmount < sendBufferBytes;
  }

  /** Several sends after cork() leave in one system call at uncork(). */
  cork(): void {
    this.#socket.cork();
  }

  uncork(): void {
    this.#socket.uncork();
  }

  send(message: Uint8Array): void {
    this.#webSocket.send(message);
  }

  /** Closes with a close frame (1000), waits at most `closeTimeoutMs` for the peer's, and resolves when nothing is left. */
  close(): Promise<void> {
    if (this.#isClosing || this.#webSocket.readyState === WebSocket.CLOSED) return this.#closed.promise;
    this.#isClosing = true;
    this.#timer?.cancel();
    this.#timer = this.#clock.after(closeTimeoutMs, () => this.destroy());
    this.#webSocket.resume(); // the peer's close frame has to be read
    this.#webSocket.close(1000);
    return this.#closed.promise;
  }

  /** Drops the connection. */
  destroy(): void {
    this.#webSocket.terminate();
  }

  /** Pings at every interval. Without any sign of life for that long and the grace of a pong, the connection is dead. */
  #keepAlive(): void {
    const silentMs = this.#clock.now() - this.#heardAt;
    const toleratedMs = this.#pingIntervalMs + pongGraceMs;
    if (silentMs >= toleratedMs) {
      this.destroy();
      return;
    }
    const waitMs = Math.min(this.#pingIntervalMs, toleratedMs - silentMs);
    this.#timer = this.#clock.after(waitMs, () => {
      if (this.isOpen) this.#webSocket.ping('keepalive'); // the reference's payload (2.1)
      this.#keepAlive();
    });
  }
}

/**
 * Dials and sends OpenDataChannel. AWS answers it with messages or by closing, so success is not known yet (2.3).
 * @throws TransportError `gateway-unreachable` (retryable), `gateway-refused` (an HTTP answer other than 101)
 */
export function dialGateway(options: DialOptions): Promise<GatewaySocket> {
  return new Promise((resolve, reject) => {
    const url = new URL(options.streamUrl);
    let socket: Socket | undefined;
    const webSocket = new WebSocket(url, {
      headers: options.headers,
      perMessageDeflate: false,
      followRedirects: false,
      maxPayload: maxMessageBytes,
      skipUTF8Validation: true,
      ...(options.agent && { agent: options.agent }),
      finishRequest: (request: ClientRequest) => {
        request.path = requestTarget(options.streamUrl);
        request.end();
      },
    });
    const settle = () => {
      timer.cancel();
      options.signal?.removeEventListener('abort', abort);
      webSocket.off('error', onError);
    };
    const fail = (error: KeyholeError) => {
      settle();
      webSocket.on('error', () => {});
      webSocket.terminate();
      reject(error);
    };
    const onError = (error: Error) => fail(unreachable(url, error.message, error));
    const abort = () => fail(unreachable(url, 'the attempt was given up'));
    // Not by ws: its own timeout is that of a socket it has made itself.
    const timer = options.clock.after(options.timeoutMs, () =>
      fail(unreachable(url, `no answer within ${options.timeoutMs / 1000} s`)),
    );
    webSocket.on('error', onError);
    if (options.signal?.aborted) return abort();
    options.signal?.addEventListener('abort', abort, { once: true });
    webSocket.once('unexpected-response', (_request, response) => {
      void readRefusal(url, response).then(fail);
    });
    webSocket.once('upgrade', (response) => {
      socket = response.socket;
    });
    webSocket.once('open', () => {
      settle();
      const { requestId, tokenValue, clientId, clientVersion } = options.openDataChannel;
      webSocket.send(
        JSON.stringify({
          MessageSchemaVersion: '1.0',
          RequestId: requestId,
          TokenValue: tokenValue,
          ClientId: clientId,
          ClientVersion: clientVersion,
        }),
      );
      resolve(new GatewaySocket(webSocket, socket!, options));
    });
  });
}

/** Path and query as they stand in the URL: a parser could write them differently. */
function requestTarget(streamUrl: string): string {
  return /^wss?:\/\/[^/?#]*([^#]*)/i.exec(streamUrl)?.[1] || '/';
}

const maxRefusalBytes = 4096;

async function readRefusal(url: URL, response: IncomingMessage): Promise<TransportError> {
  let body = '';
  try {
    for await (const chunk of response) {
      body += String(chunk);
      if (body.length > maxRefusalBytes) break;
    }
  } catch {
    // What came will do.
  }
  const said = refusalText(body);
  const status = response.statusCode ?? 0;
  return new TransportError(
    'gateway-refused',
    `${url.host} refused the data channel with HTTP ${status}${said === '' ? '' : `: ${said}`}`,
    {
      hint:
        status === 401 || status === 403
          ? 'ssmmessages:OpenDataChannel must be allowed on the session, and the clock be right'
          : 'run it again; if it persists, AWS or a proxy in between does not take the websocket',
      retryable: status >= 500 || status === 429,
    },
  );
}

function refusalText(body: string): string {
  let text = body;
  try {
    const value = JSON.parse(body);
    text = String(value.message ?? value.Message ?? '');
  } catch {
    // Not JSON: shown as it is.
  }
  return text
    .replace(/[^\x20-\x7e]+/g, ' ')
    .slice(0, 300)
    .trim();
}

function unreachable(url: URL, why: string, cause?: unknown): TransportError {
  return new TransportError('gateway-unreachable', `${url.host} can't be reached: ${why}`, {
    hint: 'port 443 of ssmmessages.REGION.amazonaws.com must be reachable, through a proxy or VPC endpoint if need be',
    retryable: true,
    cause,
  });
}
