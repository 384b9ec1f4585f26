// The calls of SsmApi through the AWS SDK. Owns timeouts, retries and what errors mean (advice.ts); knows nothing of
// what a session is for. Nothing of the SDK gets out of here, and nothing that it would print.
import {
  GetConnectionStatusCommand,
  ResumeSessionCommand,
  type SSMClient,
  StartSessionCommand,
  TerminateSessionCommand,
} from '@aws-sdk/client-ssm';
import { getEndpointFromInstructions } from '@smithy/core/endpoints';
import type { Clock } from '../clock.ts';
import { ProtocolError } from '../errors.ts';
import type { Log } from '../log.ts';
import { adviseAwsError, type CallContext } from './advice.ts';
import { withRetries } from './retry.ts';
import type { SessionHandle, SsmApi } from './ssm-api.ts';
import type { StartQueue } from './start-queue.ts';

export interface SsmClientOptions {
  client: SSMClient;
  region: string;
  /** For messages: where the credentials come from; undefined for keys in the environment. */
  profile: string | undefined;
  clock: Clock;
  log: Log;
  /** The line that StartSession waits in. */
  startQueue?: StartQueue | undefined;
}

/**
 * A StartSession that was sent is not cut at once: if AWS made the session, only the answer says which one to end.
 * Below the 3 s within which keyhole has to be gone after a signal.
 */
const startSessionGraceMs = 2_000;

export function ssmClient({ client, region, profile, clock, log, startQueue }: SsmClientOptions): SsmApi {
  const endpoint = async () =>
    (await getEndpointFromInstructions({ Target: '' }, StartSessionCommand, client.config)).url;

  async function call<T>(
    context: Pick<CallContext, 'operation' | 'target' | 'document'>,
    send: (abortSignal: AbortSignal) => Promise<T>,
    signal: AbortSignal | undefined,
    graceMs = 0,
    queue?: StartQueue,
  ): Promise<T> {
    signal?.throwIfAborted();
    const endpointHost = await endpoint().then((url) => url.host);
    let refreshed = false;
    const attempt = async (): Promise<T> => {
      const cut = cutAfter(signal, graceMs, clock);
      const startedAt = clock.now();
      try {
        return await send(cut.signal);
      } catch (error) {
        if (signal?.aborted && cut.signal.aborted) throw signal.reason;
        const advised = adviseAwsError(error, { service: 'ssm', region, profile, endpointHost, ...context });
        log('info', 'aws-error', {
          operation: context.operation,
          code: advised.code,
          ms: Math.round(clock.now() - startedAt),
        });
        if (advised.code === 'credentials-expired' && !refreshed) {
          // Expired by AWS's clock although not by ours, or renewed by another process since.
          refreshed = true;
          await client.config.credentials({ forceRefresh: true }).catch(() => {});
          return attempt();
        }
        throw advised;
      } finally {
        cut.cancel();
      }
    };
    return withRetries(() => (queue === undefined ? attempt() : queue.run(attempt, signal)), { clock, signal });
  }

  return {
    region,
    endpoint: async () => new URL(await endpoint()),

    async startSession({ target, documentName, parameters, reason }, signal) {
      const command = new StartSessionCommand({
        Target: target,
        DocumentName: documentName,
        Parameters: parameters,
        ...(reason !== undefined && { Reason: reason }),
      });
      const context = { operation: 'StartSession', target, document: documentName };
      const answer = await call(
        context,
        (abortSignal) => client.send(command, { abortSignal }),
        signal,
        startSessionGraceMs,
        startQueue,
      );
      return sessionHandle(answer, context.operation);
    },

    async resumeSession(sessionId, signal) {
      const command = new ResumeSessionCommand({ SessionId: sessionId });
      const answer = await call(
        { operation: 'ResumeSession' },
        (abortSignal) => client.send(command, { abortSignal }),
        signal,
      );
      return sessionHandle({ SessionId: sessionId, ...answer }, 'ResumeSession');
    },

    async terminateSession(sessionId, signal) {
      const command = new TerminateSessionCommand({ SessionId: sessionId });
      await call({ operation: 'TerminateSession' }, (abortSignal) => client.send(command, { abortSignal }), signal);
    },

    async getConnectionStatus(target, signal) {
      const command = new GetConnectionStatusCommand({ Target: target });
      const context = { operation: 'GetConnectionStatus', target };
      const answer = await call(context, (abortSignal) => client.send(command, { abortSignal }), signal);
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

/** A signal that is aborted `graceMs` after `signal` is. */
function cutAfter(signal: AbortSignal | undefined, graceMs: number, clock: Clock) {
  const controller = new AbortController();
  let timer: { cancel(): void } | undefined;
  const onAbort = () => {
    if (graceMs === 0) controller.abort(signal?.reason);
    else timer = clock.after(graceMs, () => controller.abort(signal?.reason));
  };
  if (signal?.aborted) onAbort();
  else signal?.addEventListener('abort', onAbort, { once: true });
  return {
    signal: controller.signal,
    cancel() {
      signal?.removeEventListener('abort', onAbort);
      timer?.cancel();
    },
  };
}
