// The client's end of a multiplexed port session as a pure state machine (protocol.md 6.3): many streams over the one
// byte stream of a data channel. Bytes and a time go in, events and bytes come out; no I/O, no clock.
//
// Laws: a stream's bytes are delivered once and in order; FIN goes behind what was written before it; nothing is sent
// on a stream after FIN, either way; what comes for a stream that is unknown or finished is read and thrown away.
import { Command, FrameReader, serializeFrame } from './frame.ts';
import { SendQueue } from './queue.ts';

export type MuxEvent =
  | { type: 'data'; streamId: number; bytes: Buffer }
  /** FIN: the server has closed, and the agent throws away what is still sent to it. */
  | { type: 'end'; streamId: number }
  /** The agent could not connect: nothing listens there. */
  | { type: 'refused'; streamId: number };

interface Stream {
  heard: boolean;
  /** finish() was called: FIN goes when nothing waits. */
  finishing: boolean;
}

/** The reference's first stream is 3, then 5, 7 … */
const firstStreamId = 3;

export class Mux {
  readonly #reader = new FrameReader();
  readonly #queue = new SendQueue();
  readonly #streams = new Map<number, Stream>();
  /** Frames without data, which overtake data. */
  #control: Buffer[] = [];
  #nextStreamId = firstStreamId;
  /** ConnectToPortErrors whose FIN has not come yet. */
  #connectErrors = 0;
  readonly #keepAliveMs: number;
  #keepAliveAt: number;

  /**
   * @param keepAliveMs a NOP is sent when nothing was for so long
   * @param now milliseconds on the caller's clock
   */
  constructor(keepAliveMs: number, now: number) {
    this.#keepAliveMs = keepAliveMs;
    this.#keepAliveAt = now + keepAliveMs;
  }

  /** Streams that are open on our side. */
  get size(): number {
    return this.#streams.size;
  }

  /** The new stream's id. Whether it can be connected shows later, if at all: SYN has no answer. */
  open(): number {
    const streamId = this.#nextStreamId;
    this.#nextStreamId += 2;
    this.#streams.set(streamId, { heard: false, finishing: false });
    this.#queue.open(streamId);
    this.#control.push(serializeFrame(Command.syn, streamId));
    return streamId;
  }

  /** Takes bytes for the stream's server. They must stay unchanged until they are sent. */
  write(streamId: number, bytes: Uint8Array): void {
    const stream = this.#streams.get(streamId);
    if (stream !== undefined && !stream.finishing) this.#queue.push(streamId, bytes);
  }

  /** False once FIN came, or went. */
  has(streamId: number): boolean {
    return this.#streams.has(streamId);
  }

  /** Bytes of write() that have not been sent. */
  waitingBytes(streamId: number): number {
    return this.#queue.bytes(streamId);
  }

  /** No more will be written, and nothing more is wanted: what was written is sent, then FIN. */
  finish(streamId: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined || stream.finishing) return;
    stream.finishing = true;
    if (this.#queue.bytes(streamId) === 0) this.#close(streamId, 'with-fin');
  }

  /** As finish(), but what has not been sent is dropped. */
  abandon(streamId: number): void {
    if (this.#streams.has(streamId)) this.#close(streamId, 'with-fin');
  }

  /** The agent's flag ConnectToPortError: it names no stream, but the FIN of that stream follows. */
  connectError(): void {
    if (this.#streams.size > 0) this.#connectErrors += 1;
  }

  /** @throws ProtocolError `mux`: the session can't go on */
  receive(bytes: Buffer, now: number): MuxEvent[] {
    const events: MuxEvent[] = [];
    for (const { command, streamId, data } of this.#reader.read(bytes)) {
      const stream = this.#streams.get(streamId);
      if (stream === undefined) continue;
      if (command === Command.psh) {
        stream.heard = true;
        this.#queue.heard(streamId, now);
        events.push({ type: 'data', streamId, bytes: data });
      } else if (command === Command.fin) {
        events.push({ type: this.#isRefusal(stream) ? 'refused' : 'end', streamId });
        this.#close(streamId, 'silently');
      }
    }
    return events;
  }

  /** The next frame; undefined if nothing may go now. */
  next(now: number): Buffer | undefined {
    const frame = this.#nextFrame(now);
    if (frame !== undefined) this.#keepAliveAt = now + this.#keepAliveMs;
    return frame;
  }

  /** When next() may have something though nothing happens; undefined if never. */
  deadline(now: number): number | undefined {
    if (this.#control.length > 0) return now;
    const keepAliveAt = this.#streams.size === 0 ? undefined : this.#keepAliveAt;
    const queued = this.#queue.deadline(now);
    return keepAliveAt === undefined ? queued : Math.min(keepAliveAt, queued ?? keepAliveAt);
  }

  /** Whether some stream has to wait for the sake of others. */
  isStrained(now: number): boolean {
    return this.#queue.holds(now);
  }

  #nextFrame(now: number): Buffer | undefined {
    const control = this.#control.shift();
    if (control !== undefined) return control;
    const next = this.#queue.next(now);
    if (next === undefined) return this.#keepAlive(now);
    const { streamId, data } = next;
    const frame = serializeFrame(Command.psh, streamId, data);
    if (this.#streams.get(streamId)?.finishing && this.#queue.bytes(streamId) === 0) this.#close(streamId, 'with-fin');
    return frame;
  }

  /** Agents that don't hear anything for 30 s end the session (5.3), and AWS one that was idle for long. */
  #keepAlive(now: number): Buffer | undefined {
    return this.#streams.size > 0 && this.#keepAliveAt <= now ? serializeFrame(Command.nop, 0) : undefined;
  }

  #isRefusal({ heard }: Stream): boolean {
    if (heard || this.#connectErrors === 0) return false;
    this.#connectErrors -= 1;
    return true;
  }

  #close(streamId: number, how: 'with-fin' | 'silently'): void {
    this.#streams.delete(streamId);
    this.#queue.close(streamId);
    if (this.#streams.size === 0) this.#connectErrors = 0;
    if (how === 'with-fin') this.#control.push(serializeFrame(Command.fin, streamId));
  }
}
