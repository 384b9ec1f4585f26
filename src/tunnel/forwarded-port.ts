// Connections to one port behind an instance: over a session that they share, or where the account or the agent does not
// allow that, or a setting says so, by a tunnel for each (open.ts: another SSM document, or EC2 Instance Connect Endpoint).
import type { Duplex } from 'node:stream';
import { objection, type Route } from '../eice/endpoint.ts';
import { KeyholeError, TransportError } from '../errors.ts';
import { openOnArrival } from './arrival.ts';
import type { TunnelChoice } from './choice.ts';
import { Deadline } from './deadline.ts';
import { openTunnel, type SessionParts } from './open.ts';
import { type Destination, SharedSession, type SharedSessionStatus } from './shared-session.ts';
import type { Transport } from './transport.ts';

export interface ForwardingParts extends SessionParts {
  /** `i-…` or `mi-…`. */
  target: string;
  choice: TunnelChoice<Route>;
}

export interface ForwardedPortOptions {
  remoteHost: string | undefined;
  port: number;
  /** Finds the target and the AWS settings, anew for each session: both may change while a tunnel is up. */
  prepare(signal: AbortSignal): Promise<ForwardingParts>;
}

export interface ForwardedPortStatus {
  sessions: SharedSessionStatus[];
  /** Tunnels of one connection each. */
  separate: number;
}

/** Sessions at most; further connections share them all the same. */
const maxSessions = 4;
/** Connections in one session; the agent takes 1,024 that it has not dialled yet. */
const maxConnections = 500;
/** How long it is remembered that sessions can't be shared. */
const refusalKeptMs = 5 * 60_000;
/** Where the server speaks first, so that silence means that nothing is there. */
const sshPort = 22;

export class ForwardedPort {
  readonly #options: ForwardedPortOptions;
  readonly #sessions = new Set<SharedSession>();
  readonly #separate = new Set<Transport>();
  readonly #stop = new AbortController();
  #separateUntil = Number.NEGATIVE_INFINITY;
  #pending = 0;
  #onSettled: (() => void) | undefined;

  constructor(options: ForwardedPortOptions) {
    this.#options = options;
  }

  status(): ForwardedPortStatus {
    return { sessions: [...this.#sessions].map((session) => session.status()), separate: this.#separate.size };
  }

  /**
   * A connection to the port. Whether anything listens there shows later: it ends with an error if not.
   * @throws KeyholeError, or the signal's reason
   */
  async connect(given: AbortSignal): Promise<Duplex> {
    const signal = AbortSignal.any([given, this.#stop.signal]);
    this.#pending += 1;
    try {
      signal.throwIfAborted();
      return await this.#connect(signal);
    } finally {
      this.#pending -= 1;
      if (this.#pending === 0) this.#onSettled?.();
    }
  }

  /** Ends all that is open. Resolves when nothing is left, here or at AWS. */
  async close(): Promise<void> {
    this.#stop.abort(new KeyholeError('interrupted', 'the tunnel was closed'));
    if (this.#pending > 0) {
      await new Promise<void>((resolve) => {
        this.#onSettled = resolve;
      });
    }
    const sessions = [...this.#sessions].map((session) => session.close());
    const transports = [...this.#separate].map((transport) => {
      const closed = new Promise((resolve) => transport.once('close', resolve));
      transport.destroy();
      return closed;
    });
    await Promise.all([...sessions, ...transports]);
  }

  async #connect(signal: AbortSignal): Promise<Duplex> {
    const { remoteHost, port } = this.#options;
    const existing = await this.#share(this.#best(), signal);
    if (existing !== undefined) return existing;
    const parts = await this.#options.prepare(signal);
    const { settings, clock, log, target } = parts;
    const isSeparate =
      settings.forwardSessions === 'separate' ||
      settings.transport === 'eice' ||
      (this.#separateUntil > clock.now() && remoteHost === undefined);
    if (isSeparate) return await this.#openSeparate(parts, signal);
    const mayGoByEndpoint =
      remoteHost === undefined && settings.transport === 'auto' && objection(target, port) === undefined;
    // Whoever came meanwhile may have begun one.
    const session = this.#best() ?? this.#start(parts, { target, remoteHost, port, mayGoByEndpoint });
    try {
      return await session.connect(signal);
    } catch (error) {
      if (signal.aborted || remoteHost !== undefined || !isRefusal(error)) throw error;
      if (error.code === 'target-not-connected' && !mayGoByEndpoint) throw error;
      log('info', 'sessions are not shared', { target, why: error.message });
      this.#separateUntil = clock.now() + refusalKeptMs;
      return await this.#openSeparate(parts, signal);
    }
  }

  /** Undefined where there is no session, or where it turns out that there can't be one that is shared. */
  async #share(session: SharedSession | undefined, signal: AbortSignal): Promise<Duplex | undefined> {
    try {
      return await session?.connect(signal);
    } catch (error) {
      if (signal.aborted || !isRefusal(error)) throw error;
      return undefined;
    }
  }

  /** The session for one more connection; undefined where it had better be a new one. */
  #best(): SharedSession | undefined {
    const usable = [...this.#sessions].filter(({ isUsable }) => isUsable).sort((a, b) => a.size - b.size);
    const free = usable.find(({ isStrained, size }) => !isStrained && size < maxConnections);
    return free ?? (usable.length >= maxSessions ? usable[0] : undefined);
  }

  #start(parts: ForwardingParts, destination: Destination): SharedSession {
    const session: SharedSession = new SharedSession(parts, destination, () => this.#sessions.delete(session));
    this.#sessions.add(session);
    return session;
  }

  async #openSeparate(parts: ForwardingParts, signal: AbortSignal): Promise<Duplex> {
    const { remoteHost, port } = this.#options;
    const { settings, clock, log, target } = parts;
    if (remoteHost !== undefined) throw noRemoteHost(target, remoteHost);
    const deadline = new Deadline(clock, target, settings.deadlineMs);
    const options = {
      ...parts,
      port,
      settings: port === sshPort ? settings : { ...settings, firstByteTimeoutMs: 0 },
      signal: AbortSignal.any([signal, deadline.signal]),
    };
    try {
      const transport = await openOnArrival({
        ...options,
        open: () => openTunnel(options),
        onStart: (text, withinMs) => {
          log('info', text, { target });
          deadline.restart(withinMs + settings.deadlineMs);
        },
      });
      this.#separate.add(transport);
      transport.on('error', () => {}); // whoever uses it is told
      transport.once('close', () => this.#separate.delete(transport));
      return transport;
    } finally {
      deadline.cancel();
    }
  }
}

/** Whether a tunnel for each connection may do what a shared session may not. */
function isRefusal(error: unknown): error is KeyholeError {
  if (!(error instanceof KeyholeError)) return false;
  return (
    ['target-not-connected', 'mux-unsupported', 'document-unknown'].includes(error.code) ||
    error.code.startsWith('access-denied')
  );
}

function noRemoteHost(target: string, remoteHost: string): TransportError {
  return new TransportError(
    'no-remote-host',
    `a tunnel for each connection to ${target} can not lead on to ${remoteHost}`,
    {
      hint: 'another host needs a shared session: forward_sessions = "shared" and transport "auto" or "ssm"',
    },
  );
}
