// The few SSM calls of a tunnel, as the rest of the program sees them. `ssm/` is given one of these and
// never meets the SDK. All reject with AwsError (stable codes, see aws/advice.ts).

export interface StartSessionRequest {
  /** `i-…` or `mi-…`. */
  target: string;
  documentName: string;
  /** Every value is a list of strings, ports too (protocol.md 1.1). */
  parameters: Record<string, string[]>;
  reason?: string;
}

export interface SessionHandle {
  sessionId: string;
  /** Opens the data channel once; undefined in a ResumeSession answer for a session that timed out (protocol.md 1.3). */
  tokenValue: string | undefined;
  /** To be used byte for byte (protocol.md 1.1). */
  streamUrl: string;
}

export interface SsmApi {
  readonly region: string;
  /** A call that was sent is not given up by the signal: AWS may have made the session. */
  startSession(request: StartSessionRequest, signal?: AbortSignal): Promise<SessionHandle>;
  /** Asks once: whoever resumes has a patience of his own. */
  resumeSession(sessionId: string, signal?: AbortSignal): Promise<SessionHandle>;
  terminateSession(sessionId: string, signal?: AbortSignal): Promise<void>;
  getConnectionStatus(target: string, signal?: AbortSignal): Promise<'connected' | 'notconnected'>;
  /** The network may be another one: what comes next is not sent over a connection of before. */
  forgetConnections(): void;
  /** Where the SSM API is called; decides which StreamUrl hosts are believed (ssm/stream-url.ts). */
  endpoint(): Promise<URL>;
}

export interface Credentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
  expiration?: Date;
}

/** Signs the websocket upgrade of a data channel (protocol.md 2.2) with the caller's current credentials. */
export interface UpgradeSigner {
  /** Headers to add: `Authorization`, `X-Amz-Date` and, with temporary credentials, `X-Amz-Security-Token`. */
  sign(streamUrl: string): Promise<Record<string, string>>;
}
