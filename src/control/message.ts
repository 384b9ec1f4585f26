// What is said on the local socket, with the checks that each receiver makes (PROTOCOL.md, "The control socket").
import { ProtocolError, ReportedError } from '../errors.ts';

/** Raised whenever a peer of the former number could not understand us. */
export const protocolVersion = 2;

export interface Hello {
  protocol: number;
  /** The program's version, `major.minor.patch`. */
  version: string;
  pid: number;
}

/** Who asks, and in which surroundings: AWS settings are the caller's own (design.md section 4). */
export interface Caller {
  env: Record<string, string>;
  cwd: string;
  pid: number;
  /** The process that started the helper: ssh, as a rule. */
  parentPid: number;
}

export interface OpenRequest {
  host: string;
  port: string;
  user?: string;
  /** How the caller will take the socket over: by passing it to ssh, or by relaying with a `go` before. */
  handover: 'fd' | 'relay';
  /** Settings given as flags, by flag name. */
  flags: Record<string, string>;
  caller: Caller;
  /** Path of the caller's own ssh-agent, if it has one. */
  upstreamAgent?: string;
  /** Inode of the caller's end of this socket, by which it is known whether anybody still has it (Linux). */
  socketInode?: number;
}

/** What a `progress` says. */
export interface Progress {
  text: string;
  /** How long the caller has to wait at most, from its start; later words count. */
  deadlineMs?: number;
  /** Whether a person should see it. */
  shown?: boolean;
}

/** A local tunnel. */
export interface ForwardRequest {
  /** Of a table in the configuration file; by it the tunnel is ended. */
  name?: string;
  host: string;
  /** Each `[LOCAL:][RHOST:]RPORT`. */
  forwardings: string[];
  /** Whether it may listen where other machines reach it. */
  expose: boolean;
  /** It stays when the caller goes. */
  detached: boolean;
  flags: Record<string, string>;
  caller: Caller;
}

/** Where a tunnel listens, in the order of its forwardings. */
export interface ForwardingReply {
  locals: string[];
}

/** What happens on a tunnel, told to the caller that stays. */
export type ConnectionEvent =
  | { type: 'opened'; local: string; id: number; from: string }
  | {
      type: 'closed';
      local: string;
      id: number;
      from: string;
      bytesSent: number;
      bytesReceived: number;
      durationMs: number;
      failure: { code: string; message: string; hint: string | undefined } | undefined;
    };

export interface RetireRequest {
  /** `drain`: no new tunnels, the old ones finish. `stop`: they are ended. */
  how: 'drain' | 'stop';
  reason: string;
}

export function parseHello(body: Record<string, unknown>): Hello {
  return { protocol: integer(body, 'protocol'), version: text(body, 'version', 64), pid: integer(body, 'pid') };
}

export function parseOpenRequest(body: Record<string, unknown>): OpenRequest {
  const handover = text(body, 'handover', 8);
  if (handover !== 'fd' && handover !== 'relay') throw wrong('handover');
  const user = optionalText(body, 'user', 256);
  const upstreamAgent = optionalText(body, 'upstreamAgent', 4096);
  return {
    host: text(body, 'host', 1024),
    port: text(body, 'port', 16),
    ...(user !== undefined && { user }),
    handover,
    flags: texts(body, 'flags'),
    caller: parseCaller(object(body, 'caller')),
    ...(upstreamAgent !== undefined && { upstreamAgent }),
    ...(body.socketInode !== undefined && { socketInode: integer(body, 'socketInode') }),
  };
}

function parseCaller(body: Record<string, unknown>): Caller {
  return {
    env: texts(body, 'env'),
    cwd: text(body, 'cwd', 4096),
    pid: integer(body, 'pid'),
    parentPid: integer(body, 'parentPid'),
  };
}

export function parseProgress(body: Record<string, unknown>): Progress {
  const deadlineMs = body.deadlineMs === undefined ? undefined : integer(body, 'deadlineMs');
  return {
    text: text(body, 'text', 1024),
    ...(deadlineMs !== undefined && { deadlineMs }),
    shown: body.shown === true,
  };
}

export function parseForwardRequest(body: Record<string, unknown>): ForwardRequest {
  const name = optionalText(body, 'name', 128);
  return {
    ...(name !== undefined && { name }),
    host: text(body, 'host', 1024),
    forwardings: textList(body, 'forwardings'),
    expose: body.expose === true,
    detached: body.detached === true,
    flags: texts(body, 'flags'),
    caller: parseCaller(object(body, 'caller')),
  };
}

export function parseForwardingReply(body: Record<string, unknown>): ForwardingReply {
  return { locals: textList(body, 'locals') };
}

/** Of `down` and its answer. */
export function parseNames(body: Record<string, unknown>): string[] {
  return textList(body, 'names');
}

export function parseConnectionEvent(body: Record<string, unknown>): ConnectionEvent {
  const common = { local: text(body, 'local', 4096), id: integer(body, 'id'), from: text(body, 'from', 256) };
  if (text(body, 'type', 16) === 'opened') return { type: 'opened', ...common };
  const failure = body.failure === undefined ? undefined : parseError(object(body, 'failure'));
  return {
    type: 'closed',
    ...common,
    bytesSent: integer(body, 'bytesSent'),
    bytesReceived: integer(body, 'bytesReceived'),
    durationMs: integer(body, 'durationMs'),
    failure: failure && { code: failure.code, message: failure.message, hint: failure.hint },
  };
}

export function parseRetireRequest(body: Record<string, unknown>): RetireRequest {
  const how = text(body, 'how', 8);
  if (how !== 'drain' && how !== 'stop') throw wrong('how');
  return { how, reason: text(body, 'reason', 256) };
}

/** Cuts what is too long, since half a reason is better than none. */
export function parseError(body: Record<string, unknown>): ReportedError {
  const { hint, exitStatus } = body;
  return new ReportedError({
    code: text(body, 'code', 64),
    message: text(body, 'message', Number.POSITIVE_INFINITY).slice(0, maxErrorText),
    ...(typeof hint === 'string' && { hint: hint.slice(0, maxErrorText) }),
    exitStatus: exitStatus === 2 ? 2 : 1,
  });
}

const maxErrorText = 4096;

function text(body: Record<string, unknown>, key: string, maxLength: number): string {
  const value = body[key];
  if (typeof value !== 'string' || value.length > maxLength) throw wrong(key);
  return value;
}

function optionalText(body: Record<string, unknown>, key: string, maxLength: number): string | undefined {
  return body[key] === undefined ? undefined : text(body, key, maxLength);
}

function integer(body: Record<string, unknown>, key: string): number {
  const value = body[key];
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw wrong(key);
  return value as number;
}

function object(body: Record<string, unknown>, key: string): Record<string, unknown> {
  const value = body[key];
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(key);
  return value as Record<string, unknown>;
}

function texts(body: Record<string, unknown>, key: string): Record<string, string> {
  const value = object(body, key);
  if (!Object.values(value).every((item) => typeof item === 'string')) throw wrong(key);
  return value as Record<string, string>;
}

/** More than anybody writes. */
const maxListLength = 256;

function textList(body: Record<string, unknown>, key: string): string[] {
  const value = body[key];
  const isList =
    Array.isArray(value) && value.length <= maxListLength && value.every((item) => typeof item === 'string');
  if (!isList) throw wrong(key);
  return value;
}

function wrong(key: string): ProtocolError {
  return new ProtocolError('control-message', `the peer on the control socket sent no proper ${key}`, {
    side: 'remote',
  });
}
