// The unix socket behind which the agent runs smux, as a stream: what the data channel writes and reads is the frames of
// all streams; behind it are the connections to the port.
import { connect, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { AgentMux, type MuxAction } from './mux.ts';

export class MuxSocket extends Duplex {
  readonly #target: { host: string; port: number } | undefined;
  readonly #onConnectError: () => void;
  readonly #mux = new AgentMux();
  readonly #connections = new Map<number, Socket>();
  #written: (() => void) | undefined;
  #wantsData = false;

  /** @param target undefined: nothing listens there, or its name leads nowhere */
  constructor(target: { host: string; port: number } | undefined, onConnectError: () => void) {
    super({ readableHighWaterMark: 1 });
    this.#target = target;
    this.#onConnectError = onConnectError;
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#written = done;
    this.#do(this.#mux.receive(bytes));
  }

  override _read(): void {
    this.#wantsData = true;
    this.#pump();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    for (const connection of this.#connections.values()) connection.destroy();
    this.#connections.clear();
    done(error);
  }

  #do(actions: MuxAction[]): void {
    for (const action of actions) {
      if (action.type === 'connect-error') this.#onConnectError();
      else if (action.type === 'dial') this.#dial(action.streamId);
      else if (action.type === 'write') this.#writeTo(action.streamId, action.bytes);
      else if (action.type === 'close') this.#connections.get(action.streamId)?.destroy();
    }
    this.#pump();
    if (this.#mux.blocked) return;
    const written = this.#written;
    this.#written = undefined;
    written?.();
  }

  #dial(streamId: number): void {
    if (this.#target === undefined) {
      setImmediate(() => this.#do(this.#mux.dialFailed(streamId)));
      return;
    }
    const connection = connect({ ...this.#target, noDelay: true });
    this.#connections.set(streamId, connection);
    connection.once('connect', () => this.#do(this.#mux.dialled(streamId)));
    connection.on('readable', () => this.#copyOut(streamId));
    connection.once('end', () => this.#do(this.#mux.socketEnded(streamId)));
    connection.once('error', () => {
      this.#do(this.#mux.dialFailed(streamId)); // Only the one that fits its state does anything.
      this.#do(this.#mux.socketEnded(streamId));
    });
    connection.once('close', () => this.#connections.delete(streamId));
  }

  #writeTo(streamId: number, bytes: Buffer): void {
    this.#connections.get(streamId)?.write(bytes, (error) => {
      if (!error) this.#do(this.#mux.written(streamId));
    });
  }

  #copyOut(streamId: number): void {
    const connection = this.#connections.get(streamId);
    if (connection === undefined) return;
    const wanted = this.#mux.wanted(streamId);
    if (wanted === 0) return;
    // Asking for nothing also tells the stream to report its end, once everything was read.
    const bytes: Buffer | null = connection.read(Math.min(wanted, connection.readableLength));
    if (bytes !== null) this.#do(this.#mux.socketData(streamId, bytes));
  }

  #pump(): void {
    while (this.#wantsData && this.#mux.readable) {
      this.#wantsData = this.push(this.#mux.read(16 * 1024));
    }
    // Sending made room for what other connections have.
    for (const streamId of this.#connections.keys()) this.#copyOut(streamId);
  }
}
