// What can go wrong with a session, in words, and which of it is worth another try.
import { AwsError, KeyholeError, TransportError } from '../errors.ts';
import { showDuration } from '../settings.ts';

export function isWorthRetrying(error: KeyholeError): boolean {
  if (error instanceof TransportError || error instanceof AwsError) return error.retryable;
  return false;
}

/** Nobody can mend these, or only by another session. */
const final = /^(?:session-ended|access-denied.*|credentials-invalid|request-refused|stream-url-refused|internal)$/;
/** AWS can be asked again as soon as the user has done what the hint says. */
const curable = /^(?:credentials-expired|sso-expired|mfa-needed|credential-process-failed|no-credentials)$/;
/** Not worth another try while somebody waits for a first connection, but of a network that will be back. */
const passing = /^(?:endpoint-.*|tls-failed|child-failed)$/;

/** What becomes of a session that can't be resumed for this reason; credentials have been renewed before it is one. */
export function outlookOf(error: KeyholeError): 'passes' | 'final' | 'unclear' {
  if (final.test(error.code)) return 'final';
  return isWorthRetrying(error) || needsUser(error) || passing.test(error.code) ? 'passes' : 'unclear';
}

export function needsUser({ code }: KeyholeError): boolean {
  return curable.test(code);
}

export function asKeyholeError(error: unknown): KeyholeError {
  if (error instanceof KeyholeError) return error;
  return new KeyholeError('internal', `unexpected: ${error instanceof Error ? error.message : String(error)}`, {
    cause: error,
  });
}

/** @param lastFailure what stood in the way, if a deadline was what gave up */
export function givenUp(signal: AbortSignal, target: string, lastFailure: KeyholeError | undefined): KeyholeError {
  if (lastFailure !== undefined) return lastFailure;
  if (signal.reason instanceof KeyholeError) return signal.reason;
  return new TransportError('interrupted', `the connection to ${target} was given up`);
}

/** protocol.md 6.1 and section 16, row 6: nothing listens, or the session was ended before it began. */
export function closedSilently(target: string, text: string): TransportError {
  return new TransportError(
    'port-closed',
    `${target} ended the session before it sent anything${text === '' ? '' : `: ${text}`}`,
    { hint: 'is sshd running on the target, and on this port?' },
  );
}

export function tokenRefused(code: number | undefined, reason: string): TransportError {
  const close = code === undefined ? 'closed the connection' : `closed with code ${code}`;
  return new TransportError(
    'token-refused',
    `AWS ${close} instead of opening the data channel${reason && `: ${reason}`}`,
    {
      hint: 'ssmmessages:OpenDataChannel must be allowed, and client_version be one that AWS still accepts',
    },
  );
}

export function closedLocally(): TransportError {
  return new TransportError('closed', 'the tunnel was closed');
}

export function connectionLost(code: number | undefined, reason: string): TransportError {
  const how = code === undefined ? 'was lost' : `was closed by AWS with code ${code}`;
  return new TransportError('connection-lost', `the connection to the session ${how}${reason && `: ${reason}`}`, {
    retryable: true,
  });
}

/** @param last what stood in the way last */
export function notResumed(target: string, afterMs: number, last: KeyholeError | undefined): TransportError {
  return new TransportError(
    'connection-lost',
    `the session with ${target} could not be resumed within ${showDuration(afterMs)}${last ? `: ${last.message}` : ''}`,
    { ...(last?.hint !== undefined && { hint: last.hint }), cause: last },
  );
}

export function notInTime(ms: number): TransportError {
  return new TransportError('gateway-unreachable', `no connection to the session within ${showDuration(ms)}`, {
    retryable: true,
  });
}

/** The session was ended before the agent had acknowledged everything. */
export function undelivered(target: string): TransportError {
  return new TransportError('undelivered', `${target} did not take all bytes before the session was ended`);
}

/** Too much waits for a reader, in a session that can't be left and taken up again. */
export function readerStalled(target: string): TransportError {
  return new TransportError('reader-stalled', `too many bytes of ${target} were waiting to be read`);
}

export function notResumable(): TransportError {
  return new TransportError('not-resumable', 'the connection was lost, and a presigned session can not be resumed');
}

/** AWS has no token any more (protocol.md 1.3). */
export function sessionEnded(id: string): TransportError {
  return new TransportError('session-ended', `AWS has ended the session ${id}`, {
    hint: 'it was idle too long, reached its maximum duration, or was terminated by somebody',
  });
}
