// The handshake's JSON, both ways (protocol.md section 5). Pure.
import { printable } from '../printable.ts';
import { parseJsonObject, textOf } from './message.ts';

/** What the agent asks for in HandshakeRequest (5.1). */
export interface HandshakeRequest {
  agentVersion: string;
  actions: RequestedAction[];
}

export interface RequestedAction {
  actionType: string;
  parameters: Record<string, unknown>;
}

/** ActionStatus of a processed action (5.2). */
export const ActionStatus = { success: 1, failed: 2, unsupported: 3 } as const;

/** @throws ProtocolError `ssm-message` where it is not the JSON of 5.1. */
export function parseHandshakeRequest(payload: Uint8Array): HandshakeRequest {
  const value = parseJsonObject(payload, 'HandshakeRequest');
  const actions = Array.isArray(value.RequestedClientActions) ? value.RequestedClientActions : [];
  return {
    agentVersion: textOf(value.AgentVersion),
    actions: actions.slice(0, maxActions).map((action) => ({
      actionType: textOf(action?.ActionType),
      parameters: typeof action?.ActionParameters === 'object' ? (action.ActionParameters ?? {}) : {},
    })),
  };
}

/** The references know two kinds of action; more than this many is no handshake. */
const maxActions = 16;

export interface HandshakeAnswer {
  payload: Buffer;
  /** Set where an action can't be done: the agent then cancels the session (5.2). */
  refused: string | undefined;
}

/**
 * Answers every requested action. Only a Port session without encryption is possible here: the agent never asks
 * for encryption on one (5.4), so KMSEncryption means that the session document is not a Port document.
 */
export function answerHandshake(request: HandshakeRequest, clientVersion: string): HandshakeAnswer {
  let refused: string | undefined;
  const processed = request.actions.map(({ actionType, parameters }) => {
    const problem = refusal(actionType, parameters);
    refused ??= problem;
    return {
      ActionType: actionType,
      ActionStatus: problem === undefined ? ActionStatus.success : ActionStatus.unsupported,
      ActionResult: null,
      Error: problem ?? '',
    };
  });
  const answer = { ClientVersion: clientVersion, ProcessedClientActions: processed, Errors: null };
  return { payload: Buffer.from(JSON.stringify(answer)), refused };
}

function refusal(actionType: string, parameters: Record<string, unknown>): string | undefined {
  if (actionType !== 'SessionType') return `the session asks for ${quote(actionType)}, which a port session never does`;
  const sessionType = textOf(parameters.SessionType);
  if (sessionType === 'Port') return undefined;
  return `the session document makes a ${quote(sessionType)} session, not a Port session`;
}

/** A peer's text, safe to print. */
function quote(text: string): string {
  return JSON.stringify(printable(text).slice(0, 64));
}

/** CustomerMessage of HandshakeComplete (5.3), a text for the user; empty as a rule. */
export function parseHandshakeComplete(payload: Uint8Array): { customerMessage: string } {
  const value = parseJsonObject(payload, 'HandshakeComplete');
  return { customerMessage: textOf(value.CustomerMessage) };
}

/**
 * Whether an agent ends the session on the TerminateSession flag: versions above 2.3.722.0 do, compared number by
 * number, and only where there are four of them (5.3). For others TerminateSession has to be called.
 */
export function understandsTerminateFlag(agentVersion: string): boolean {
  return isAbove(agentVersion, [2, 3, 722, 0]);
}

/** Whether both sides take a session of type LocalPortForwarding for multiplexed (5.3). */
export function speaksMux(agentVersion: string, clientVersion: string): boolean {
  return isAbove(agentVersion, [3, 0, 196, 0]) && isAbove(clientVersion, [1, 1, 69, 65_535]);
}

/** Whether the agent ends a multiplexed session on which it has heard nothing for 30 s (5.3). */
export function wantsKeepAlive(agentVersion: string, clientVersion: string): boolean {
  return !isAbove(agentVersion, [3, 1, 1511, 0]) || !isAbove(clientVersion, [1, 2, 331, 0]);
}

function isAbove(text: string, limit: readonly number[]): boolean {
  if (!/^\d+(\.\d+){3}$/.test(text)) return false;
  const version = text.split('.').map(Number);
  const different = version.findIndex((number, at) => number !== limit[at]);
  return different >= 0 && version[different]! > limit[different]!;
}
