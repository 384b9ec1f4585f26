// One end of a local tunnel: where it listens, its connections, and the way to the port that it leads to. What goes wrong with
// a connection ends it and nothing else.
import type { Socket } from 'node:net';
import type { ConnectionEvent } from '../control/message.ts';
import { KeyholeError } from '../errors.ts';
import { type Forwarding, showLocal } from '../target/forwarding.ts';
import { ForwardedPort, type ForwardedPortStatus, type ForwardingParts } from '../tunnel/forwarded-port.ts';
import { Splice } from '../tunnel/splice.ts';
import { LocalListener } from './local-listener.ts';
import { isPeerGone } from './local-peer.ts';
import type { DaemonParts } from './parts.ts';
import { unexpectedError } from './tunnel.ts';

export interface ForwardEndStatus extends ForwardedPortStatus {
  /** `127.0.0.1:5432`, or the path of a unix socket. */
  local: string;
  remoteHost: string | undefined;
  remotePort: number;
  /** Open now, and in all. */
  connections: number;
  connectionsInAll: number;
  bytesSent: number;
  bytesReceived: number;
  /** Of the last connection that failed. */
  failure: { code: string; message: string; at: number } | undefined;
}

export interface ForwardEndContext {
  parts: DaemonParts;
  host: string;
  prepare(signal: AbortSignal): Promise<ForwardingParts>;
  tell(event: ConnectionEvent): void;
  notConnected(): void;
  /** A connection has gone. */
  changed(): void;
}

/** One listener and what it leads to. */
export class ForwardEnd {
  readonly forwarding: Forwarding;
  readonly #context: ForwardEndContext;
  readonly #port: ForwardedPort;
  readonly #open = new Map<number, { local: Socket; splice: Splice | undefined }>();
  readonly #serving = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  #listener: LocalListener | undefined;
  #isListening = false;
  #inAll = 0;
  #settledSent = 0;
  #settledReceived = 0;
  #failure: ForwardEndStatus['failure'];

  constructor(forwarding: Forwarding, context: ForwardEndContext) {
    this.forwarding = forwarding;
    this.#context = context;
    const { remoteHost, remotePort } = forwarding;
    this.#port = new ForwardedPort({ remoteHost, port: remotePort, prepare: context.prepare });
  }

  get local(): string {
    return showLocal(this.#listener?.local ?? this.forwarding.local);
  }

  get isDrained(): boolean {
    return !this.#isListening && this.#open.size === 0;
  }

  async listen(): Promise<void> {
    this.#listener = await LocalListener.listen(this.forwarding.local, (socket) => {
      const serving = this.#serve(socket).finally(() => this.#serving.delete(serving));
      this.#serving.add(serving);
    });
    this.#isListening = true;
  }

  stopListening(): void {
    if (this.#isListening) this.#listener?.close();
    this.#isListening = false;
  }

  status(): ForwardEndStatus {
    const splices = [...this.#open.values()].map(({ splice }) => splice);
    const { remoteHost, remotePort } = this.forwarding;
    return {
      local: this.local,
      remoteHost,
      remotePort,
      connections: this.#open.size,
      connectionsInAll: this.#inAll,
      bytesSent: splices.reduce((sum, splice) => sum + (splice?.bytesSent ?? 0), this.#settledSent),
      bytesReceived: splices.reduce((sum, splice) => sum + (splice?.bytesReceived ?? 0), this.#settledReceived),
      failure: this.#failure,
      ...this.#port.status(),
    };
  }

  async close(): Promise<void> {
    this.stopListening();
    this.#stop.abort(new KeyholeError('interrupted', 'the tunnel was closed'));
    const closing = this.#port.close();
    for (const { local } of this.#open.values()) local.destroy();
    await closing;
    await Promise.all(this.#serving);
  }

  /** One connection, from its first byte to its last. Never rejects. */
  async #serve(local: Socket): Promise<void> {
    const { parts, tell, changed } = this.#context;
    const { clock, log } = parts;
    const id = ++this.#inAll;
    const from = local.remotePort === undefined ? 'a unix socket' : `${local.remoteAddress}:${local.remotePort}`;
    const since = clock.now();
    const entry: { local: Socket; splice: Splice | undefined } = { local, splice: undefined };
    this.#open.set(id, entry);
    const gone = new AbortController();
    const onGone = () => gone.abort(new KeyholeError('interrupted', 'the client has gone'));
    local.on('error', () => {}); // told by its close
    local.once('close', onGone);
    log('info', 'connection', { local: this.local, id, from });
    tell({ type: 'opened', local: this.local, id, from });
    let failure: unknown;
    try {
      const remote = await this.#port.connect(AbortSignal.any([gone.signal, this.#stop.signal]));
      if (local.destroyed) remote.on('error', () => {}).destroy();
      else {
        entry.splice = new Splice({ local, remote, clock, isLocalGone: () => isPeerGone(local) });
        failure = await entry.splice.done;
      }
    } catch (error) {
      failure = error;
      this.#context.notConnected();
      reset(local);
    }
    this.#open.delete(id);
    const { bytesSent = 0, bytesReceived = 0 } = entry.splice ?? {};
    this.#settledSent += bytesSent;
    this.#settledReceived += bytesReceived;
    const reported = this.#report(failure);
    const durationMs = Math.round(clock.now() - since);
    log('info', 'connection closed', { id, sent: bytesSent, received: bytesReceived, code: reported?.code });
    tell({ type: 'closed', local: this.local, id, from, bytesSent, bytesReceived, durationMs, failure: reported });
    changed();
  }

  /** Undefined where nothing went wrong, or nobody is there to be told. */
  #report(failure: unknown): { code: string; message: string; hint: string | undefined } | undefined {
    if (failure === undefined || this.#stop.signal.aborted) return undefined;
    const error = failure instanceof KeyholeError ? failure : unexpectedError(failure);
    const { code, message, hint } = error;
    if (code === 'interrupted') return undefined;
    const { parts, host } = this.#context;
    this.#failure = { code, message, at: parts.clock.wallTime() };
    parts.recordFailure({ host, port: String(this.forwarding.remotePort) }, error);
    return { code, message, hint };
  }
}

/** The client sees at once that there is no connection. */
function reset(local: Socket): void {
  if (local.remoteFamily === undefined) local.destroy();
  else local.resetAndDestroy();
}
