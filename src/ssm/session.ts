// One session at AWS, from StartSession to its end: its id, its tokens, and who may dial with them
// (protocol.md sections 1, 2 and 7). From the moment StartSession was called somebody owes it an end.
import { randomUUID } from 'node:crypto';
import type { Agent } from 'node:http';
import type { SessionHandle, SsmApi, StartSessionRequest, UpgradeSigner } from '../aws/ssm-api.ts';
import type { Clock, Timer } from '../clock.ts';
import { KeyholeError } from '../errors.ts';
import type { Log } from '../log.ts';
import { within } from '../within.ts';
import { sessionEnded } from './failures.ts';
import { dialGateway, type GatewaySocket } from './gateway.ts';
import { checkStreamUrl, isPresigned } from './stream-url.ts';

export interface SessionOptions {
  api: SsmApi;
  signer: UpgradeSigner;
  clock: Clock;
  log: Log;
  notes?: SessionNotes;
  /** Sent in OpenDataChannel; AWS announces a minimum (protocol.md 2.3). */
  clientVersion: string;
  streamHosts: readonly string[];
  pingIntervalMs: number;
  /** The way to the gateway. */
  agentFor?(url: URL): Agent;
}

/** Told of every session that exists at AWS and of its end, so that none is forgotten when the process is killed. */
export interface SessionNotes {
  started(sessionId: string): void;
  /** Only where the end was confirmed: by the agent, or by AWS's answer to TerminateSession. */
  ended(sessionId: string): void;
  /** It was cut and can't be resumed until the user has done what the hint says; it is tried on meanwhile. */
  stuck?(failure: KeyholeError): void;
}

/**
 * How long who gives up waits for the answer to a StartSession that was sent. Below the 3 s within which keyhole has to be
 * gone after a signal; a process that lives on ends the session when the answer comes.
 */
const startGraceMs = 2_000;
/** For ending a session for which nobody waits. */
const lateTerminateTimeoutMs = 30_000;
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
   * Calls StartSession. `signal` ends the waiting, never a call that AWS may already have carried out: a session nobody
   * knows of would stay until AWS ends it for idleness.
   */
  static async start(options: SessionOptions, request: StartSessionRequest, signal: AbortSignal): Promise<Session> {
    const starting = options.api.startSession(request, signal).then((handle) => {
      const session = new Session(options, handle);
      options.notes?.started(session.id);
      options.log('info', 'session started', { session: session.id, target: request.target });
      return session;
    });
    const patience = abortAfter(signal, startGraceMs, options.clock);
    try {
      return await within(patience.signal, starting);
    } catch (error) {
      void starting.then(
        (session) => session.#endLate(),
        () => {}, // where it failed before the patience was over, that is what is thrown here
      );
      throw error;
    } finally {
      patience.cancel();
    }
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
  /** Nobody waited for it. Never rejects. */
  async #endLate(): Promise<void> {
    const { log, notes } = this.#options;
    try {
      await this.terminate(lateTerminateTimeoutMs);
      notes?.ended(this.id);
      log('info', 'session that came too late ended', { session: this.id });
    } catch (error) {
      // The ledger keeps it for the next process.
      const why = error instanceof Error ? error.message : String(error);
      log('info', 'session that came too late not ended', { session: this.id, why });
    }
  }
}

/** A signal that is aborted `ms` after `signal` is, for the same reason. */
function abortAfter(signal: AbortSignal, ms: number, clock: Clock): { signal: AbortSignal; cancel(): void } {
  const controller = new AbortController();
  let timer: Timer | undefined;
  const onAbort = () => {
    timer = clock.after(ms, () => controller.abort(signal.reason));
  };
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  return {
    signal: controller.signal,
    cancel() {
      signal.removeEventListener('abort', onAbort);
      timer?.cancel();
    },
  };
}
