// One session of a port that many connections share: started when the first one comes, ended when none has been there for
// a while (protocol.md 6.3). Which connection goes to which session is forwarded-port.ts's to say.
import type { Duplex } from 'node:stream';
import type { Timer } from '../clock.ts';
import { KeyholeError, TransportError } from '../errors.ts';
import { speaksMux } from '../ssm/handshake.ts';
import { MuxLink } from '../ssm/mux/link.ts';
import { within } from '../within.ts';
import { openOnArrival } from './arrival.ts';
import { Deadline } from './deadline.ts';
import { openSession, type SessionParts } from './open.ts';

export interface Destination {
  /** `i-…` or `mi-…`. */
  target: string;
  /** Another machine, as the instance knows it; undefined: the instance itself. */
  remoteHost: string | undefined;
  port: number;
  /** There is another way, if SSM does not know the target. */
  mayGoByEndpoint: boolean;
}

export interface SharedSessionStatus {
  sessionId: string | undefined;
  connections: number;
  roundTripMs: number | undefined;
  resumes: number;
}

export class SharedSession {
  readonly #parts: SessionParts;
  readonly #onGone: () => void;
  readonly #abort = new AbortController();
  readonly #opening: Promise<MuxLink>;
  #link: MuxLink | undefined;
  #idle: Timer | undefined;
  #expected = 0;
  #closed: Promise<void> | undefined;

  /** @param onGone once, when nothing is left of it here and at AWS */
  constructor(parts: SessionParts, destination: Destination, onGone: () => void) {
    this.#parts = parts;
    this.#onGone = onGone;
    this.#opening = this.#open(destination);
    this.#opening.catch(() => {}); // told to those who wait for a connection
  }

  /** Connections that are open, or will be as soon as the session is. */
  get size(): number {
    return this.#expected + (this.#link?.size ?? 0);
  }

  /** Whether connections can still be had. */
  get isUsable(): boolean {
    return !this.#abort.signal.aborted && !(this.#link?.isGone ?? false);
  }

  get isStrained(): boolean {
    return this.#link?.isStrained ?? false;
  }

  status(): SharedSessionStatus {
    const stats = this.#link?.transport.stats();
    return {
      sessionId: this.#link?.transport.sessionId,
      connections: this.#link?.size ?? 0,
      roundTripMs: stats?.roundTripMs,
      resumes: stats?.resumes ?? 0,
    };
  }

  /** @throws KeyholeError where the session can't be opened; the signal's reason */
  async connect(signal: AbortSignal): Promise<Duplex> {
    this.#idle?.cancel();
    this.#expected += 1;
    try {
      const link = await within(signal, this.#opening);
      if (link.isGone) throw new TransportError('session-ended', 'the session was ended');
      return link.open();
    } finally {
      this.#expected -= 1;
      this.#watchIdle();
    }
  }

  /** Ends the session, and what is open with it. Resolves when nothing is left of it. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #open({ target, remoteHost, port, mayGoByEndpoint }: Destination): Promise<MuxLink> {
    const { settings, aws, clock, log } = this.#parts;
    const deadline = new Deadline(clock, target, settings.deadlineMs);
    const signal = AbortSignal.any([this.#abort.signal, deadline.signal]);
    try {
      const parameters = { portNumber: [String(port)], ...(remoteHost !== undefined && { host: [remoteHost] }) };
      const documentName = remoteHost === undefined ? settings.forwardDocument : settings.forwardRemoteDocument;
      const request = { target, documentName, parameters };
      const transport = await openOnArrival({
        target,
        aws,
        // Where there is an endpoint nobody waits for SSM.
        settings: mayGoByEndpoint ? { ...settings, waitMs: 0, start: false } : settings,
        clock,
        log,
        signal,
        open: () => openSession(this.#parts, request, signal),
        onStart: (text, withinMs) => {
          log('info', text, { target });
          deadline.restart(withinMs + settings.deadlineMs);
        },
      });
      transport.once('close', () => this.#gone());
      if (!speaksMux(transport.agentVersion, settings.clientVersion)) {
        transport.on('error', () => {});
        const closed = new Promise((resolve) => transport.once('close', resolve));
        transport.destroy();
        await closed;
        throw tooOld(target, transport.agentVersion);
      }
      const { clientVersion } = settings;
      this.#link = new MuxLink({ transport, clientVersion, clock, log, onChange: () => this.#watchIdle() });
      this.#watchIdle();
      return this.#link;
    } catch (error) {
      this.#abort.abort(error);
      this.#onGone();
      throw error;
    } finally {
      deadline.cancel();
    }
  }

  #watchIdle(): void {
    this.#idle?.cancel();
    if (this.size > 0 || this.#link === undefined || !this.isUsable) return;
    const { clock, settings } = this.#parts;
    this.#idle = clock.after(settings.forwardIdleTimeoutMs, () => void this.close());
  }

  async #close(): Promise<void> {
    this.#abort.abort(new KeyholeError('interrupted', 'the tunnel was closed'));
    const link = await this.#opening.catch(() => undefined);
    if (link === undefined || link.transport.closed) return;
    const closed = new Promise((resolve) => link.transport.once('close', resolve));
    link.transport.resume();
    link.transport.end(); // what connections have said is delivered, then the session is ended
    await closed;
  }

  #gone(): void {
    this.#idle?.cancel();
    this.#abort.abort(new KeyholeError('interrupted', 'the session was ended'));
    if (this.#link !== undefined) this.#onGone();
  }
}

function tooOld(target: string, agentVersion: string): TransportError {
  return new TransportError(
    'mux-unsupported',
    `the agent of ${target} (version ${agentVersion}) carries one connection for each session`,
    { hint: 'forward_sessions = "separate" asks for no more' },
  );
}
