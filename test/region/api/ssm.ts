// The calls of AWS Systems Manager that keyhole makes; those that are not about sessions have files of their own. Constraints: SSM's service model 2014-11-06; errors and
// permissions: protocol.md section 1.
import { resolveProperties } from '../documents.ts';
import { ServiceError } from '../errors.ts';
import type { Access, Principal, Resource } from '../identity.ts';
import { connected, type RegionState } from '../state.ts';
import { jsonWire } from './json-wire.ts';
import type { Call, Service } from './service.ts';
import type { Structure } from './shape.ts';
import { getCommandInvocation, sendCommand } from './ssm-commands.ts';
import { describeInstanceInformation } from './ssm-nodes.ts';
import { describeSessions } from './ssm-sessions.ts';

const sessionId = { type: 'string', min: 1, max: 96 } as const;
const target = { type: 'string', min: 1, max: 400 } as const;

const startSession: Structure = {
  type: 'structure',
  required: ['Target'],
  members: {
    Target: target,
    DocumentName: { type: 'string', pattern: /^[a-zA-Z0-9_\-.:/]{3,128}$/ },
    Reason: { type: 'string', min: 1, max: 256, pattern: /^.{1,256}$/ },
    Parameters: {
      type: 'map',
      key: { type: 'string', min: 1, max: 255 },
      value: { type: 'list', member: { type: 'string', min: 1, max: 65535 } },
    },
  },
};

const bySessionId: Structure = { type: 'structure', required: ['SessionId'], members: { SessionId: sessionId } };

interface StartSessionInput {
  Target: string;
  DocumentName?: string;
  Reason?: string;
  Parameters?: Record<string, string[]>;
}

function startAccess(documentChecked: boolean): Access {
  return {
    action: 'ssm:StartSession',
    conditions: { 'ssm:SessionDocumentAccessCheck': String(documentChecked) },
  };
}

export function ssmService(state: RegionState): Service {
  const { sessions, documents, nodes, arn } = state;

  function nodeResource(target: string, { account }: Principal): Resource {
    const node = nodes.get(target);
    return { arn: arn.node(target, account), tags: node?.account === account ? node.tags : {} };
  }

  /** With the tags that Session Manager gives every session. */
  function sessionResource(id: string, { account }: Principal): Resource {
    const session = sessions.find(id);
    const tags =
      session?.owner.account === account
        ? { 'aws:ssmmessages:session-id': session.owner.userId, 'aws:ssmmessages:target-id': session.target }
        : {};
    return { arn: arn.session(id, account), tags };
  }

  function start({ principal, input, authorize, allows }: Call): object {
    const { Target, DocumentName, Reason, Parameters } = input as unknown as StartSessionInput;
    const node = nodes.get(Target);
    const where = nodeResource(Target, principal);
    // The default document is checked only where a policy asks for it by this key (protocol.md 1.1).
    const check = DocumentName !== undefined || !allows(startAccess(false), where);
    authorize(startAccess(check), where);
    const document = documents.find(DocumentName);
    if (check) authorize(startAccess(true), arn.document(document, principal.account));
    const properties = resolveProperties(document, Parameters);
    if (node === undefined || !connected(node) || node.account !== principal.account) {
      throw new ServiceError('TargetNotConnected', `${Target} is not connected.`);
    }
    const session = sessions.start({ owner: principal, target: Target, document, properties, reason: Reason });
    const TokenValue = session.issueToken();
    state.onSession(session, node);
    return { SessionId: session.sessionId, TokenValue, StreamUrl: state.streamUrl(session) };
  }

  /** A session that ended answers without a token: for the client it has timed out (protocol.md 1.3). */
  function resume({ principal, input, authorize }: Call): object {
    const id = input.SessionId as string;
    authorize('ssm:ResumeSession', sessionResource(id, principal));
    const session = sessions.find(id);
    if (session === undefined || session.owner.account !== principal.account) {
      throw new ServiceError('DoesNotExistException', `Session ${id} does not exist.`);
    }
    if (!session.active) return { SessionId: id };
    session.touch();
    const TokenValue = session.issueToken();
    return { SessionId: id, TokenValue, StreamUrl: state.streamUrl(session) };
  }

  /** Idempotent: an ended or unknown session is answered like one that was just ended. */
  function terminate({ principal, input, authorize }: Call): object {
    const id = input.SessionId as string;
    authorize('ssm:TerminateSession', sessionResource(id, principal));
    const session = sessions.find(id);
    if (session?.owner.account === principal.account) {
      session.end('terminated', `Session ${id} was terminated by ${principal.arn}.`);
    }
    return { SessionId: id };
  }

  function connectionStatus({ principal, input, authorize }: Call): object {
    const Target = input.Target as string;
    authorize('ssm:GetConnectionStatus', nodeResource(Target, principal));
    const node = nodes.get(Target);
    const reached = node?.account === principal.account && connected(node);
    return { Target, Status: reached ? 'connected' : 'notconnected' };
  }

  return {
    signingName: 'ssm',
    wire: jsonWire('AmazonSSM'),
    operations: {
      StartSession: { input: startSession, run: start },
      ResumeSession: { input: bySessionId, run: resume },
      TerminateSession: { input: bySessionId, run: terminate },
      GetConnectionStatus: {
        input: { type: 'structure', required: ['Target'], members: { Target: target } },
        run: connectionStatus,
      },
      DescribeSessions: describeSessions(state),
      SendCommand: sendCommand(state),
      GetCommandInvocation: getCommandInvocation(state),
      DescribeInstanceInformation: describeInstanceInformation(state),
    },
  };
}
