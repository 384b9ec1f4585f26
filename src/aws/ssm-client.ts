// The calls of SsmApi through the AWS SDK; knows nothing of what a session is for. Nothing of the SDK gets out of here, and
// nothing that it would print. Retries and what errors mean: ssm-call.ts.
import {
  GetConnectionStatusCommand,
  ResumeSessionCommand,
  type SSMClient,
  StartSessionCommand,
  TerminateSessionCommand,
} from '@aws-sdk/client-ssm';
import { ProtocolError } from '../errors.ts';
import type { CallQueue } from './call-queue.ts';
import type { SessionHandle, SsmApi } from './ssm-api.ts';
import { type SsmCall, ssmEndpoint } from './ssm-call.ts';

export interface SsmClientOptions {
  client: SSMClient;
  region: string;
  call: SsmCall;
  /** Closes connections that are kept for later. */
  forgetConnections(): void;
  queues?: CallQueues | undefined;
}

/** The lines that calls with a small quota wait in. */
export interface CallQueues {
  start: CallQueue;
  resume: CallQueue;
}

/**
 * A StartSession's answer is waited for longer than any caller waits: only it says which session AWS has made, and asked
 * again, AWS would make another one.
 */
const startSessionAnswerMs = 600_000;
/** To resume a session was allowed when it was started: other credentials may be what is wrong. */
const curedByCredentials = /^(?:credentials-(?:expired|invalid)|access-denied.*)$/;

export function ssmClient({ client, region, call, queues, forgetConnections }: SsmClientOptions): SsmApi {
  return {
    region,
    forgetConnections,
    endpoint: () => ssmEndpoint(client),

    async startSession({ target, documentName, parameters, reason }, signal) {
      const command = new StartSessionCommand({
        Target: target,
        DocumentName: documentName,
        Parameters: parameters,
        ...(reason !== undefined && { Reason: reason }),
      });
      const context = { operation: 'StartSession', target, document: documentName };
      const send = () => client.send(command, { requestTimeout: startSessionAnswerMs });
      const answer = await call(context, send, signal, { uncut: true, queue: queues?.start });
      return sessionHandle(answer, context.operation);
    },

    async resumeSession(sessionId, signal) {
      const command = new ResumeSessionCommand({ SessionId: sessionId });
      const answer = await call({ operation: 'ResumeSession' }, (options) => client.send(command, options), signal, {
        queue: queues?.resume,
        curedByCredentials,
        once: true,
      });
      return sessionHandle({ SessionId: sessionId, ...answer }, 'ResumeSession');
    },

    async terminateSession(sessionId, signal) {
      const command = new TerminateSessionCommand({ SessionId: sessionId });
      await call({ operation: 'TerminateSession' }, (options) => client.send(command, options), signal);
    },

    async getConnectionStatus(target, signal) {
      const command = new GetConnectionStatusCommand({ Target: target });
      const context = { operation: 'GetConnectionStatus', target };
      const answer = await call(context, (options) => client.send(command, options), signal);
      return answer.Status === 'connected' ? 'connected' : 'notconnected';
    },
  };
}

function sessionHandle(
  answer: { SessionId?: string | undefined; TokenValue?: string | undefined; StreamUrl?: string | undefined },
  operation: string,
): SessionHandle {
  const { SessionId: sessionId, TokenValue: tokenValue, StreamUrl: streamUrl } = answer;
  // Only a ResumeSession for a session that timed out comes without a token (protocol.md 1.3), then perhaps without URL.
  if (sessionId && (operation === 'ResumeSession' || tokenValue) && (streamUrl || !tokenValue)) {
    return { sessionId, tokenValue: tokenValue || undefined, streamUrl: streamUrl ?? '' };
  }
  throw new ProtocolError('bad-answer', `AWS answered ${operation} without a session, token or stream URL`, {
    side: 'remote',
  });
}
