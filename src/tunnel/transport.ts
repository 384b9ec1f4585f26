// What every way to a target looks like from above: a byte stream with an end. `ssm/` and `eice/`
// each make one; they meet only here.
import type { Duplex } from 'node:stream';

export interface TransportStats {
  bytesSent: number;
  bytesReceived: number;
  /** Smoothed round trip in milliseconds; undefined until measured. */
  roundTripMs: number | undefined;
  /** How often the path was cut and taken up again. */
  resumes: number;
  /** Wall time, ms since 1970, at which the path ends whatever happens; undefined where it has no such limit. */
  expiresAt?: number;
  /** While the path is cut and being taken up again: since when (wall time), and what stands in the way. */
  interrupted?: Interruption;
}

export interface Interruption {
  since: number;
  /** As of the error that it would be, if it stayed. */
  code: string | undefined;
  message: string | undefined;
  hint: string | undefined;
}

/**
 * One tunnel to one port of one target.
 *
 * Readable side: the target's bytes; `end` is the target's clean close; `error` is a KeyholeError.
 * Writable side: bytes for the target, with backpressure; `end()` delivers what was taken, then ends the
 * session, since neither SSM nor EICE has a half-close (protocol.md 6.1, 9.3). `destroy()` ends it at once.
 * `close` is emitted only when nothing is left: no socket, no timer, no session at AWS.
 */
export interface Transport extends Duplex {
  readonly kind: 'ssm' | 'eice';
  stats(): TransportStats;
  /** The session at AWS, where the transport has one. */
  readonly sessionId: string | undefined;
}
