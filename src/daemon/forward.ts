// One local tunnel of the daemon: where it listens, its connections, and the sessions behind them, of which there are none
// before the first connection and none after the idle time. What goes wrong with a connection ends it and nothing else.
import type { AwsContext } from '../aws/context.ts';
import { loadSettings } from '../config.ts';
import type { ConnectionEvent, ForwardRequest } from '../control/message.ts';
import { type KeyholeError, UsageError } from '../errors.ts';
import type { Log } from '../log.ts';
import { findPaths } from '../paths.ts';
import type { Settings } from '../settings.ts';
import { readHost } from '../target/call.ts';
import { type Forwarding, isOnLoopback, parseForwarding, showLocal } from '../target/forwarding.ts';
import type { Host } from '../target/host.ts';
import type { ForwardingParts } from '../tunnel/forwarded-port.ts';
import { ForwardEnd, type ForwardEndContext, type ForwardEndStatus } from './forward-end.ts';
import type { DaemonParts } from './parts.ts';
import { notesFor } from './session-notes.ts';

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
  readonly #ends: ForwardEnd[];
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
    this.#ends = request.forwardings.map((text) => new ForwardEnd(parseForwarding(text), this.#context(parts)));
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

  #context(parts: DaemonParts): ForwardEndContext {
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

function notLoopback({ local }: Forwarding): UsageError {
  return new UsageError('not-loopback', `${showLocal(local)} can be reached by other machines`, {
    hint: 'name no address, or 127.0.0.1; --expose if that is what you want: whoever can reach it gets through',
  });
}
