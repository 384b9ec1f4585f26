// One session at AWS, from StartSession to its end: its id, its tokens, and who may dial with them
// (protocol.md sections 1, 2 and 7). From the moment StartSession was called somebody owes it an end.
import { randomUUID } from 'node:crypto';
import type { Agent } from 'node:http';
import type { SessionHandle, SsmApi, StartSessionRequest, UpgradeSigner } from '../aws/ssm-api.ts';
import type { Clock } from '../clock.ts';
import { KeyholeError } from '../errors.ts';
import { sessionEnded } from './failures.ts';
import { dialGateway, type GatewaySocket } from './gateway.ts';
import { checkStreamUrl, isPresigned } from './stream-url.ts';

export interface SessionOptions {
  api: SsmApi;
  signer: UpgradeSigner;
  clock: Clock;
  /** Sent in OpenDataChannel; AWS announces a minimum (protocol.md 2.3). */
  clientVersion: string;
  streamHosts: readonly string[];
  pingIntervalMs: number;
  /** The way to the gateway. */
  agentFor?(url: URL): Agent;
}

/** For the TCP connection, TLS and the upgrade of one dial; the reference waits 45 s (2.1). */
const dialTimeoutMs = 15_000;

export class Session {
  readonly #options: SessionOptions;
  /** Constant over all reconnects (2.3). */
  readonly #clientId = randomUUID();
  #handle: SessionHandle;

  private constructor(options: SessionOptions, handle: SessionHandle) {
    this.#options = options;
    this.#handle = handle;
  }

  /**
   * Calls StartSession. `signal` ends the waiting between tries, never a call that AWS may already have carried out:
   * a session nobody knows of would stay until AWS ends it for idleness.
   */
  static async start(options: SessionOptions, request: StartSessionRequest, signal: AbortSignal): Promise<Session> {
    return new Session(options, await options.api.startSession(request, signal));
  }

  get id(): string {
    return this.#handle.sessionId;
  }

  /** A session that somebody else started by a presigned URL can't be resumed (2.2). */
  get canResume(): boolean {
    return !isPresigned(new URL(this.#handle.streamUrl));
  }

  /** Dials the current StreamUrl with a fresh signature and opens the data channel. */
  async dial(signal?: AbortSignal): Promise<GatewaySocket> {
    const { api, signer, clock, clientVersion, streamHosts, pingIntervalMs, agentFor } = this.#options;
    const { streamUrl, tokenValue } = this.#handle;
    if (tokenValue === undefined) throw sessionEnded(this.id);
    const url = checkStreamUrl(streamUrl, { apiEndpoint: await api.endpoint(), allowedHosts: streamHosts });
    return await dialGateway({
      streamUrl,
      headers: isPresigned(url) ? {} : await signer.sign(streamUrl),
      openDataChannel: { requestId: randomUUID(), tokenValue, clientId: this.#clientId, clientVersion },
      clock,
      pingIntervalMs,
      timeoutMs: dialTimeoutMs,
      ...(agentFor && { agent: agentFor(url) }),
      ...(signal && { signal }),
    });
  }

  /**
   * Calls ResumeSession: a new token and StreamUrl, which may lead to another cell (1.3).
   * @throws TransportError `session-ended` where AWS answers without a token, or knows no such session
   */
  async resume(signal?: AbortSignal): Promise<void> {
    const handle = await this.#options.api.resumeSession(this.id, signal).catch((error: unknown) => {
      throw error instanceof KeyholeError && error.code === 'session-gone' ? sessionEnded(this.id) : error;
    });
    if (handle.tokenValue === undefined || handle.tokenValue === '') throw sessionEnded(this.id);
    // The model makes StreamUrl optional; the old one holds where none comes.
    this.#handle = { ...handle, sessionId: this.id, streamUrl: handle.streamUrl || this.#handle.streamUrl };
  }

  /** Calls TerminateSession, which is given up after `timeoutMs`. */
  async terminate(timeoutMs: number): Promise<void> {
    const bound = new AbortController();
    const timer = this.#options.clock.after(timeoutMs, () => bound.abort());
    await this.#options.api.terminateSession(this.id, bound.signal).finally(() => timer.cancel());
  }
}
