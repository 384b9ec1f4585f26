// One end of the local socket while it carries frames, and the switch to raw bytes (design.md section 1, 1a).
// The law of the switch: a byte behind the last frame is neither read as a frame nor lost.
import type { Socket } from 'node:net';
import { KeyholeError, ProtocolError } from '../errors.ts';
import { type Frame, FrameReader, type FrameType, maxFrameLength, serializeFrame } from './frame.ts';

/** Bytes that may wait for a receiver: a frame, and a chunk behind it. A peer that says more without being asked is cut off. */
const maxUnread = maxFrameLength + 256 * 1024;

export class ControlLink {
  readonly socket: Socket;
  /** Aborted when the peer went away, or said what is no frame. */
  readonly closed: AbortSignal;
  readonly #closed = new AbortController();
  readonly #reader = new FrameReader();
  #waiting: { resolve(frame: Frame): void; reject(error: unknown): void } | undefined;
  #failure: KeyholeError | undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    this.closed = this.#closed.signal;
    socket.on('data', this.#take);
    socket.on('end', this.#ended);
    socket.on('close', this.#ended);
    socket.on('error', this.#failed);
  }

  send(type: FrameType, body: object = {}): void {
    if (this.socket.writable) this.socket.write(serializeFrame(type, body));
  }

  /**
   * The next frame. One receiver at a time.
   * @throws KeyholeError `control-closed` where the peer went away, ProtocolError for what is no frame
   */
  receive(): Promise<Frame> {
    return new Promise((resolve, reject) => {
      if (this.#waiting !== undefined) throw new Error('somebody waits for the next frame already');
      this.#waiting = { resolve, reject };
      this.#settle();
    });
  }

  /** Stops reading frames: the socket is paused, with every byte behind the last frame put back into it. */
  release(): Socket {
    this.socket.pause();
    this.socket.off('data', this.#take);
    this.socket.off('end', this.#ended);
    this.socket.off('close', this.#ended);
    const rest = this.#reader.rest();
    if (rest.length > 0) this.socket.unshift(rest);
    return this.socket;
  }

  /**
   * From here on, the first bytes that come are raw: resolves with the released socket when they have come.
   * @throws KeyholeError `control-closed` where none came
   */
  firstBytes(): Promise<Socket> {
    const { socket } = this;
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      socket.off('data', this.#take);
      const settle = () => {
        socket.off('data', onData);
        this.closed.removeEventListener('abort', onClosed);
      };
      const onData = (chunk: Buffer) => {
        settle();
        socket.pause();
        socket.unshift(chunk);
        resolve(this.release());
      };
      const onClosed = () => {
        settle();
        reject(this.#failure);
      };
      this.closed.addEventListener('abort', onClosed);
      socket.on('data', onData);
      const early = this.#reader.rest();
      if (early.length > 0) onData(early);
    });
  }

  readonly #take = (chunk: Buffer): void => {
    this.#reader.push(chunk);
    this.#settle();
    if (this.#reader.length > maxUnread) this.socket.destroy();
  };

  readonly #ended = (): void => this.#fail(closed());

  readonly #failed = (cause: Error): void => this.#fail(closed(cause));

  #fail(error: KeyholeError): void {
    this.#failure ??= error;
    this.#closed.abort(this.#failure);
    this.#settle();
  }

  #settle(): void {
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    try {
      const frame = this.#reader.next();
      if (frame === undefined && this.#failure === undefined) return;
      this.#waiting = undefined;
      if (frame !== undefined) waiting.resolve(frame);
      else waiting.reject(this.#failure);
    } catch (error) {
      this.#waiting = undefined;
      this.#fail(error instanceof KeyholeError ? error : closed(error));
      waiting.reject(this.#failure);
    }
  }
}

/** @throws ProtocolError `control-order` for any other frame than the expected */
export function expectFrame(frame: Frame, type: FrameType): Record<string, unknown> {
  if (frame.type === type) return frame.body;
  throw new ProtocolError(
    'control-order',
    `the peer on the control socket sent frame ${frame.type} instead of ${type}`,
    {
      side: 'remote',
    },
  );
}

function closed(cause?: unknown): KeyholeError {
  return new KeyholeError('control-closed', 'the peer closed the control socket', { cause });
}
