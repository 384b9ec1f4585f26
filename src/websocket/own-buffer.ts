// Reads a socket into one buffer, past Node's streams: a stream costs each small message as much as the read itself (measured).
import type { Socket } from 'node:net';

/** What a Socket is inside; Node does not document it. */
interface Inside {
  _handle?: { useUserBuffer?: (buffer: Buffer) => void } | null;
  [name: symbol]: unknown;
}

/**
 * From now on what comes is read into `buffer` and handed to `take`, as a part of it that is valid during the call; the socket has
 * no `data` any more, but starts, stops and ends as ever. Node has this for those who connect by themselves (`onread`), whereas
 * this connection was HTTP's until now. So it is set up here as Node does it.
 * @returns false, with nothing changed, where this Node is not as expected or something waits to be read
 */
export function readIntoOwnBuffer(socket: Socket, buffer: Buffer, take: (bytes: Buffer) => void): boolean {
  const inside = socket as unknown as Inside;
  const [bufferKey, takeKey, nextKey] = ['kBuffer', 'kBufferCb', 'kBufferGen'].map((name) =>
    Object.getOwnPropertySymbols(inside).find(({ description }) => description === name),
  );
  const handle = inside._handle;
  if (bufferKey === undefined || takeKey === undefined || nextKey === undefined) return false;
  if (typeof handle?.useUserBuffer !== 'function' || inside[bufferKey] !== null || socket.readableLength > 0)
    return false;
  handle.useUserBuffer(buffer);
  inside[bufferKey] = buffer;
  inside[takeKey] = (length: number) => take(buffer.subarray(0, length));
  inside[nextKey] = null; // the same buffer each time
  return true;
}
