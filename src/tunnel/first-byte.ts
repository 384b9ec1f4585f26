// Whether anything answers. Neither SSM nor EICE says so when a tunnel opens (protocol.md 9.3, section 16, row 6), but an
// SSH server speaks first (RFC 4253 section 4.2), so its first byte is the proof, and until then a failure can be told.
import type { Clock } from '../clock.ts';
import { type KeyholeError, TransportError } from '../errors.ts';
import type { Transport } from './transport.ts';

export interface FirstByteOptions {
  /** For the message. */
  host: string;
  port: number;
  /** 0 waits for nothing: for protocols in which the client speaks first. */
  timeoutMs: number;
  clock: Clock;
  signal: AbortSignal;
}

/**
 * Resolves when the transport has bytes to read; takes none. On failure the transport is destroyed and gone.
 * @throws TransportError `no-answer`, the transport's error, or the signal's reason
 */
export async function awaitFirstByte(transport: Transport, options: FirstByteOptions): Promise<void> {
  const { clock, timeoutMs, signal } = options;
  if (transport.errored) throw transport.errored;
  if (timeoutMs === 0) return;
  let failure: unknown;
  const silent = await new Promise<boolean>((resolve) => {
    const fail = (error: unknown) => {
      failure ??= error;
      settle(true);
    };
    const aborted = () => fail(signal.reason);
    const readable = () => settle(false);
    const timer = clock.after(timeoutMs, () => fail(noAnswer(options)));
    const settle = (isSilent: boolean) => {
      timer.cancel();
      signal.removeEventListener('abort', aborted);
      transport.off('readable', readable);
      transport.off('error', fail);
      resolve(isSilent);
    };
    transport.on('error', fail);
    transport.on('readable', readable);
    if (signal.aborted) aborted();
    else signal.addEventListener('abort', aborted, { once: true });
  });
  if (!silent) return;
  transport.on('error', () => {}); // told already
  transport.destroy();
  if (!transport.closed) await new Promise((resolve) => transport.once('close', resolve));
  throw failure;
}

function noAnswer({ host, port, timeoutMs }: FirstByteOptions): KeyholeError {
  return new TransportError('no-answer', `nothing answers on port ${port} of ${host} (${timeoutMs / 1000} s)`, {
    hint: 'is sshd running on the target, and on this port?',
  });
}
