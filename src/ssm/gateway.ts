// The websocket to the message gateway: dial, and OpenDataChannel as its first message (protocol.md section 2). It knows no
// sequence numbers and nothing of what the messages mean.
import type { Agent } from 'node:http';
import type { Clock } from '../clock.ts';
import { TransportError } from '../errors.ts';
import { dialWebSocket } from '../websocket/dial.ts';
import type { WebSocketLink } from '../websocket/link.ts';
import { parseRefusal } from '../websocket/refusal.ts';

export type GatewaySocket = WebSocketLink;

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

/**
 * Dials and sends OpenDataChannel. AWS answers it with messages or by closing, so success is not known yet (2.3).
 * @throws TransportError `gateway-unreachable` (retryable), `gateway-refused` (an HTTP answer other than 101)
 */
export async function dialGateway({ streamUrl, openDataChannel, ...options }: DialOptions): Promise<GatewaySocket> {
  const dialled = await dialWebSocket({ url: streamUrl, ...options });
  const { host } = new URL(streamUrl);
  switch (dialled.outcome) {
    case 'refused':
      throw refused(host, dialled.status, dialled.body);
    case 'unreachable':
      throw unreachable(host, dialled.why, dialled.cause);
    case 'open': {
      const { requestId, tokenValue, clientId, clientVersion } = openDataChannel;
      dialled.link.send(
        JSON.stringify({
          MessageSchemaVersion: '1.0',
          RequestId: requestId,
          TokenValue: tokenValue,
          ClientId: clientId,
          ClientVersion: clientVersion,
        }),
      );
      return dialled.link;
    }
  }
}

function refused(host: string, status: number, body: string): TransportError {
  const { text } = parseRefusal(body);
  return new TransportError(
    'gateway-refused',
    `${host} refused the data channel with HTTP ${status}${text === '' ? '' : `: ${text}`}`,
    {
      hint:
        status === 401 || status === 403
          ? 'ssmmessages:OpenDataChannel must be allowed on the session, and the clock be right'
          : 'run it again; if it persists, AWS or a proxy in between does not take the websocket',
      retryable: status >= 500 || status === 429,
    },
  );
}

function unreachable(host: string, why: string, cause: unknown): TransportError {
  return new TransportError('gateway-unreachable', `${host} can't be reached: ${why}`, {
    hint: 'port 443 of ssmmessages.REGION.amazonaws.com must be reachable, through a proxy or VPC endpoint if need be',
    retryable: true,
    cause,
  });
}
