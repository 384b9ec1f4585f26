// One local tunnel of the daemon: where it listens, its connections, and the sessions behind them, of which there are none
// before the first connection and none after the idle time. What goes wrong with a connection ends it and nothing else.
import type { Socket } from 'node:net';
import type { AwsContext } from '../aws/context.ts';
import { loadSettings } from '../config.ts';
import type { ConnectionEvent, ForwardRequest } from '../control/message.ts';
import { KeyholeError, UsageError } from '../errors.ts';
import type { Log } from '../log.ts';
import { findPaths } from '../paths.ts';
import type { Settings } from '../settings.ts';
import { readHost } from '../target/call.ts';
import { type Forwarding, isOnLoopback, parseForwarding, showLocal } from '../target/forwarding.ts';
import type { Host } from '../target/host.ts';
import { ForwardedPort, type ForwardedPortStatus, type ForwardingParts } from '../tunnel/forwarded-port.ts';
import { Splice } from '../tunnel/splice.ts';
import { LocalListener } from './local-listener.ts';
import { isPeerGone } from './local-peer.ts';
import type { DaemonParts } from './parts.ts';
import { notesFor } from './session-notes.ts';
import { unexpectedError } from './tunnel.ts';

export interface ForwardStatus {
  id: number;
  name: string | undefined;
  host: string;
  /** Wall time, ms since 1970. */
  since: number;
  /** Whether it stays when whoever asked for it has gone. */
  detached: boolean;
  ends: ForwardEndStatus[];
}

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

/** Asks whoever wanted the tunnel for the AWS settings, or a child in its surroundings. */
export type Resolve = (wanted: {
  profile?: string | undefined;
  region?: string | undefined;
}) => Promise<Record<string, unknown>>;

export class Forward {
  readonly id: number;
  readonly request: ForwardRequest;
  /** Told of each connection, while somebody listens. */
  onEvent: (event: ConnectionEvent) => void = () => {};
  /** No connection is left, and none can come any more. */
  onDrained: () => void = () => {};
  readonly #parts: DaemonParts;
  readonly #since: number;
  readonly #ends: End[];
  #resolve: Resolve;
  /** What the host's name means was found out; a connection that failed puts it in doubt. */
  #forgetName = (): void => {};

  /** @throws UsageError for what is not in the grammar; ConfigError */
  constructor(id: number, request: ForwardRequest, parts: DaemonParts, resolve: Resolve) {
    this.id = id;
    this.request = request;
    this.#parts = parts;
    this.#since = parts.clock.wallTime();
    this.#resolve = resolve;
    this.#ends = request.forwardings.map((text) => new End(parseForwarding(text), this.#context(parts)));
    const exposed = this.#ends.find(({ forwarding }) => !isOnLoopback(forwarding));
    if (exposed !== undefined && !request.expose) throw notLoopback(exposed.forwarding);
  }

  /** Listens. No session is started, but the AWS settings are looked up, so that what is wrong with them is told now. */
  async open(): Promise<void> {
    try {
      for (const end of this.#ends) await end.listen();
      const { host } = this.#read();
      await this.#aws(host);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** From now on nobody is there to be asked, and it stays. */
  detach(resolve: Resolve): void {
    this.#resolve = resolve;
  }

  locals(): string[] {
    return this.#ends.map(({ local }) => local);
  }

  status(): ForwardStatus {
    const { name, host, detached } = this.request;
    return { id: this.id, name, host, since: this.#since, detached, ends: this.#ends.map((end) => end.status()) };
  }

  /** Takes no more connections; onDrained follows. */
  drain(): void {
    for (const end of this.#ends) end.stopListening();
    this.#checkDrained();
  }

  /** Resolves when nothing is left of it, here or at AWS. */
  async close(): Promise<void> {
    await Promise.all(this.#ends.map((end) => end.close()));
  }

  #checkDrained(): void {
    if (this.#ends.every((end) => end.isDrained)) this.onDrained();
  }

  #context(parts: DaemonParts): EndContext {
    const log: Log = (level, event, fields) => parts.log(level, event, { forward: this.id, ...fields });
    return {
      parts: { ...parts, log },
      host: this.request.host,
      prepare: (signal) => this.#prepare(log, signal),
      tell: (event) => this.onEvent(event),
      notConnected: () => this.#forgetName(),
      changed: () => this.#checkDrained(),
    };
  }

  #read(): { settings: Settings; host: Host } {
    const { host: name, flags, caller } = this.request;
    const file = findPaths(caller.env).configFile;
    const settings = loadSettings({ flags, env: caller.env, file, host: name });
    return { settings, host: readHost(name, settings, file) };
  }

  #aws({ profile, region }: Host): Promise<AwsContext> {
    const wanted = { profile, region };
    return this.#parts.aws.open(this.request.caller, wanted, () => this.#resolve(wanted));
  }

  async #prepare(log: Log, signal: AbortSignal): Promise<ForwardingParts> {
    const { settings, host } = this.#read();
    const { names, choice, payloadMemory, networkWatch, ledger, clock, recordFailure } = this.#parts;
    const aws = await this.#aws(host);
    const target = await names.idOf({ host, settings }, aws, signal);
    this.#forgetName = () => names.forgetHost({ host, settings }, aws);
    const stuck = (failure: KeyholeError) => void recordFailure({ host: this.request.host, port: '-' }, failure);
    const notes = { ...notesFor(ledger, { caller: this.request.caller, aws, host, target }), stuck };
    return { target, aws, settings, choice, payloadMemory, networkWatch, notes, clock, log };
  }
}

interface EndContext {
  parts: DaemonParts;
  host: string;
  prepare(signal: AbortSignal): Promise<ForwardingParts>;
  tell(event: ConnectionEvent): void;
  notConnected(): void;
  /** A connection has gone. */
  changed(): void;
}

/** One listener and what it leads to. */
class End {
  readonly forwarding: Forwarding;
  readonly #context: EndContext;
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

  constructor(forwarding: Forwarding, context: EndContext) {
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

function notLoopback({ local }: Forwarding): UsageError {
  return new UsageError('not-loopback', `${showLocal(local)} can be reached by other machines`, {
    hint: 'name no address, or 127.0.0.1; --expose if that is what you want: whoever can reach it gets through',
  });
}
