// The agent's end of a multiplexed port session, without I/O or clock, acting as amazon-ssm-agent 3.3.1142.0 does with
// smux 1.5.15 (protocol.md 6.3). Its faults are kept on purpose: no window per stream, so that one server that does not
// read stops all of them once 4 MiB wait; connections are dialled one after the other; no half-close.
import { Command, FrameReader, maxDataLength, serializeFrame } from '../../../src/ssm/mux/frame.ts';

/** MaxReceiveBuffer: what streams hold unread before nothing more is read. */
export const receiveBufferBytes = 4 * 2 ** 20;
/** Of the unix socket between the data channel and smux, in each direction (net.core.wmem_default). */
const pipeBytes = 212_992;

/** What the owner has to do, in this order. */
export type MuxAction =
  /** Connect to the port, then call `dialled` or `dialFailed`. */
  | { type: 'dial'; streamId: number }
  /** Write to the stream's connection, then call `written`. */
  | { type: 'write'; streamId: number; bytes: Buffer }
  | { type: 'close'; streamId: number }
  /** Send the flag ConnectToPortError on the data channel. */
  | { type: 'connect-error' }
  /** A frame that can't be read: smux stands still from here, as observed; nothing is said. */
  | { type: 'broken' };

interface Stream {
  streamId: number;
  state: 'waiting' | 'dialling' | 'open' | 'closed';
  unread: Buffer[];
  unreadBytes: number;
  /** The client's FIN came. */
  finished: boolean;
  /** A write to the connection is under way. */
  writing: boolean;
  /** Read from the connection, waiting for its turn to be sent. */
  outgoing: Buffer | undefined;
  framesWritten: number;
}

export class AgentMux {
  readonly #reader = new FrameReader();
  readonly #streams = new Map<number, Stream>();
  #actions: MuxAction[] = [];
  #input: Buffer[] = [];
  #inputBytes = 0;
  #reading = false;
  #tokens = receiveBufferBytes;
  #accepting: Stream[] = [];
  #dialling: Stream | undefined;
  #output: Buffer[] = [];
  #outputBytes = 0;
  #broken = false;

  /** True while smux does not read what the data channel writes: the agent's reader stands still. */
  get blocked(): boolean {
    return this.#inputBytes >= pipeBytes;
  }

  /** Bytes of clients that no server has read yet. */
  get unreadBytes(): number {
    return receiveBufferBytes - this.#tokens;
  }

  get size(): number {
    return this.#streams.size;
  }

  /** The payload of a data channel's message. */
  receive(bytes: Buffer): MuxAction[] {
    this.#input.push(bytes);
    this.#inputBytes += bytes.length;
    this.#readInput();
    return this.#take();
  }

  dialled(streamId: number): MuxAction[] {
    const stream = this.#dialling;
    if (stream?.streamId !== streamId) return [];
    this.#dialling = undefined;
    stream.state = 'open';
    this.#copyIn(stream);
    this.#accept();
    return this.#take();
  }

  dialFailed(streamId: number): MuxAction[] {
    const stream = this.#dialling;
    if (stream?.streamId !== streamId) return [];
    this.#dialling = undefined;
    this.#actions.push({ type: 'connect-error' });
    this.#closeStream(stream);
    this.#accept();
    return this.#take();
  }

  /** The connection took the bytes of the last `write`. */
  written(streamId: number): MuxAction[] {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return [];
    stream.writing = false;
    this.#copyIn(stream);
    this.#readInput();
    return this.#take();
  }

  /** How many bytes may be read from the stream's connection now: io.Copy holds one buffer. */
  wanted(streamId: number): number {
    const stream = this.#streams.get(streamId);
    return stream?.state === 'open' && stream.outgoing === undefined ? maxDataLength : 0;
  }

  socketData(streamId: number, bytes: Buffer): MuxAction[] {
    const stream = this.#streams.get(streamId);
    if (stream?.state !== 'open') return [];
    if (stream.outgoing !== undefined || bytes.length > maxDataLength) throw new Error('not wanted');
    stream.outgoing = bytes;
    this.#fillOutput();
    return this.#take();
  }

  /** End of file or an error: the stream is closed, and then the connection for both directions. */
  socketEnded(streamId: number): MuxAction[] {
    const stream = this.#streams.get(streamId);
    if (stream?.state === 'open') this.#endOpen(stream);
    return this.#take();
  }

  /** What the data channel reads next, at most `length` bytes; undefined where there is nothing. */
  read(length: number): Buffer | undefined {
    const first = this.#output[0];
    if (first === undefined) return undefined;
    const part = first.subarray(0, length);
    if (part.length === first.length) this.#output.shift();
    else this.#output[0] = first.subarray(part.length);
    this.#outputBytes -= part.length;
    this.#fillOutput();
    return part;
  }

  get readable(): boolean {
    return this.#output.length > 0;
  }

  /** smux's recvLoop: reads while there are tokens. It looks before each frame only, so it may take one too many. */
  #readInput(): void {
    if (this.#reading) return; // frames of the present slice come first
    this.#reading = true;
    while (!this.#broken && this.#tokens > 0) {
      const chunk = this.#input.shift();
      if (chunk === undefined) break;
      // In slices, since tokens end between frames and not between messages.
      const slice = chunk.subarray(0, maxDataLength);
      if (slice.length < chunk.length) this.#input.unshift(chunk.subarray(slice.length));
      this.#inputBytes -= slice.length;
      this.#takeFrames(slice);
    }
    this.#reading = false;
  }

  #takeFrames(bytes: Buffer): void {
    let frames: ReturnType<FrameReader['read']>;
    try {
      frames = this.#reader.read(bytes);
    } catch {
      this.#broken = true;
      this.#actions.push({ type: 'broken' });
      return;
    }
    for (const { command, streamId, data } of frames) {
      const stream = this.#streams.get(streamId);
      if (command === Command.syn && stream === undefined) this.#syn(streamId);
      if (stream === undefined) continue;
      if (command === Command.psh) {
        stream.unread.push(data);
        stream.unreadBytes += data.length;
        this.#tokens -= data.length;
        this.#copyIn(stream);
      } else if (command === Command.fin) {
        stream.finished = true;
        this.#copyIn(stream);
      }
    }
  }

  #syn(streamId: number): void {
    const stream: Stream = {
      streamId,
      state: 'waiting',
      unread: [],
      unreadBytes: 0,
      finished: false,
      writing: false,
      outgoing: undefined,
      framesWritten: 0,
    };
    this.#streams.set(streamId, stream);
    this.#accepting.push(stream);
    this.#accept();
  }

  /** One at a time: the loop that accepts is the one that dials. */
  #accept(): void {
    if (this.#dialling !== undefined) return;
    const stream = this.#accepting.shift();
    if (stream === undefined) return;
    this.#dialling = stream;
    stream.state = 'dialling';
    this.#actions.push({ type: 'dial', streamId: stream.streamId });
  }

  /** io.Copy from the stream to the connection. */
  #copyIn(stream: Stream): void {
    if (stream.state !== 'open' || stream.writing) return;
    const bytes = stream.unread.shift();
    if (bytes !== undefined) {
      stream.unreadBytes -= bytes.length;
      this.#tokens += bytes.length;
      stream.writing = true;
      this.#actions.push({ type: 'write', streamId: stream.streamId, bytes });
      this.#readInput();
    } else if (stream.finished) {
      // The copy is done, so the connection is closed, whatever the server still wants to say.
      this.#endOpen(stream);
    }
  }

  #endOpen(stream: Stream): void {
    stream.state = 'closed';
    this.#actions.push({ type: 'close', streamId: stream.streamId });
    if (stream.outgoing === undefined) this.#closeStream(stream);
  }

  /** smux's Close: FIN, and what was not read is forgotten. */
  #closeStream(stream: Stream): void {
    if (!this.#streams.delete(stream.streamId)) return;
    this.#tokens += stream.unreadBytes;
    this.#send(serializeFrame(Command.fin, stream.streamId));
    this.#readInput();
  }

  #fillOutput(): void {
    while (this.#outputBytes < pipeBytes) {
      let next: Stream | undefined;
      for (const stream of this.#streams.values()) {
        if (stream.outgoing !== undefined && (next === undefined || stream.framesWritten < next.framesWritten))
          next = stream;
      }
      if (next === undefined) return;
      const data = next.outgoing!;
      next.outgoing = undefined;
      next.framesWritten += 1;
      this.#send(serializeFrame(Command.psh, next.streamId, [data]));
      if (next.state === 'closed') this.#closeStream(next);
    }
  }

  #send(bytes: Buffer): void {
    this.#output.push(bytes);
    this.#outputBytes += bytes.length;
  }

  #take(): MuxAction[] {
    const actions = this.#actions;
    this.#actions = [];
    return actions;
  }
}
