// The service's record of sessions: their life (Active until terminated, ended by the agent, idle or too old), the
// token and StreamUrl that open the channel, and what DescribeSessions tells of them (protocol.md 1.1, 1.3, 11).
// Knows nothing of websockets: the gateway watches `onEnd` and says when a client's leg is there.
import { randomBytes, randomInt } from 'node:crypto';
import type { Clock, Timer } from '../../src/clock.ts';
import type { SessionDocument } from './documents.ts';
import type { Principal } from './identity.ts';
import type { SessionSettings } from './options.ts';

/** Why a session left Active: TerminateSession, the agent ended it, no input for too long, maximum duration. */
export type EndCause = 'terminated' | 'agent' | 'idle' | 'expired';

export interface SessionRequest {
  owner: Principal;
  target: string;
  document: SessionDocument;
  properties: Record<string, string>;
  reason: string | undefined;
}

export interface OpenRecord {
  /** Milliseconds since 1970, service time. */
  time: number;
  clientId: string | undefined;
  clientVersion: string | undefined;
  /** Who signed the upgrade; undefined where it was not signed. */
  accessKeyId: string | undefined;
}

export class Session {
  readonly sessionId: string;
  readonly owner: Principal;
  readonly target: string;
  readonly document: SessionDocument;
  readonly properties: Record<string, string>;
  readonly reason: string | undefined;
  /** Milliseconds since 1970, service time. */
  readonly startDate: number;
  endDate: number | undefined;
  endCause: EndCause | undefined;
  /** Text of channel_closed. */
  output = '';
  /** Whether a client's leg is there now. */
  connected = false;
  /** Every OpenDataChannel that was accepted. */
  readonly opens: OpenRecord[] = [];
  /** Messages and bytes that the gateway took from the client (`up`) and from the agent (`down`). */
  readonly traffic = { up: { messages: 0, bytes: 0 }, down: { messages: 0, bytes: 0 } };
  /** Called once, when the session has left Active. */
  onEnd: (cause: EndCause, output: string) => void = () => {};
  #requestTarget = '';
  #token: { value: string; expiresAt: number } | undefined;
  #lastInput: number;
  #idle: Timer | undefined;
  #expiry: Timer | undefined;
  readonly #table: SessionTable;

  constructor(table: SessionTable, request: SessionRequest) {
    this.#table = table;
    this.sessionId = `${request.owner.sessionName}-${randomSuffix(table.settings.idStyle)}`;
    this.owner = request.owner;
    this.target = request.target;
    this.document = request.document;
    this.properties = request.properties;
    this.reason = request.reason;
    this.startDate = table.serviceTime();
    this.#lastInput = table.clock.now();
    this.#watchIdle();
    const { maxDurationMs } = table.settings;
    if (maxDurationMs !== undefined) {
      this.#expiry = table.clock.after(maxDurationMs, () =>
        this.end('expired', `Session ${this.sessionId} ended: it reached its maximum duration.`),
      );
    }
  }

  get active(): boolean {
    return this.endDate === undefined;
  }

  get status(): 'Connecting' | 'Connected' | 'Disconnected' | 'Terminated' {
    if (!this.active) return 'Terminated';
    if (this.connected) return 'Connected';
    return this.opens.length === 0 ? 'Connecting' : 'Disconnected';
  }

  /** Path and query of the StreamUrl last issued. */
  get requestTarget(): string {
    return this.#requestTarget;
  }

  /** A new token, which replaces the one before, and a new cell. */
  issueToken(): string {
    const value = `AAEAA${randomBytes(165).toString('base64')}`;
    this.#token = { value, expiresAt: this.#table.clock.now() + this.#table.settings.tokenLifetimeMs };
    this.#requestTarget = `/v1/data-channel/${this.sessionId}?role=publish_subscribe&cell-number=${randomCell()}`;
    return value;
  }

  /** Whether `value` opens the channel; it does so once. */
  redeemToken(value: string): boolean {
    const token = this.#token;
    if (this.#table.refusesToken(this.sessionId)) return false;
    if (token === undefined || token.value !== value || this.#table.clock.now() >= token.expiresAt) return false;
    this.#token = undefined;
    return true;
  }

  /** The client sent input or resumed: the idle time starts anew. */
  touch(): void {
    this.#lastInput = this.#table.clock.now();
  }

  end(cause: EndCause, output: string): void {
    if (!this.active) return;
    this.endDate = this.#table.serviceTime();
    this.endCause = cause;
    this.output = output;
    this.#token = undefined;
    this.#idle?.cancel();
    this.#expiry?.cancel();
    this.onEnd(cause, output);
  }

  #watchIdle(): void {
    const { clock, settings } = this.#table;
    const left = this.#lastInput + settings.idleTimeoutMs - clock.now();
    if (left <= 0) this.end('idle', `Session ${this.sessionId} timed out due to inactivity.`);
    else this.#idle = clock.after(left, () => this.#watchIdle());
  }
}

export class SessionTable {
  readonly clock: Clock;
  readonly settings: SessionSettings;
  /** In the order they were started. */
  readonly all: Session[] = [];
  readonly serviceTime: () => number;
  readonly #byId = new Map<string, Session>();
  #tokenRefusals: { left: number; sessionId: string | undefined } = { left: 0, sessionId: undefined };

  constructor(clock: Clock, serviceTime: () => number, settings: SessionSettings) {
    this.clock = clock;
    this.serviceTime = serviceTime;
    this.settings = settings;
  }

  start(request: SessionRequest): Session {
    const session = new Session(this, request);
    this.all.push(session);
    this.#byId.set(session.sessionId, session);
    return session;
  }

  /** The next `times` tokens, of one session or of all, open no channel; they stay as good as they were. */
  refuseTokens(times: number, sessionId?: string): void {
    this.#tokenRefusals = { left: times, sessionId };
  }

  /** Whether one of these refusals is due; it is used up then. */
  refusesToken(sessionId: string): boolean {
    const refusals = this.#tokenRefusals;
    if (refusals.left <= 0 || (refusals.sessionId ?? sessionId) !== sessionId) return false;
    refusals.left -= 1;
    return true;
  }

  find(sessionId: string): Session | undefined {
    return this.#byId.get(sessionId);
  }
}

function randomSuffix(style: 'base32' | 'hex'): string {
  if (style === 'hex') return `0${randomBytes(8).toString('hex')}`;
  const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';
  return Array.from({ length: 26 }, () => alphabet[randomInt(alphabet.length)]).join('');
}

/** Base64 with raw `+`, `/` and `=`, the three that clients re-encode by mistake (protocol.md 2.2). */
function randomCell(): string {
  for (;;) {
    const cell = `AAEAA${randomBytes(31).toString('base64')}`;
    if (cell.includes('+') && cell.includes('/')) return cell;
  }
}
