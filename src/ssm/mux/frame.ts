// smux version 1 frames, bytes ⇄ value (protocol.md 6.3). Pure. The bytes of a port session's messages are one stream of
// frames; frames straddle messages, so a reader keeps what it has of a header and hands data on as it comes.
import { ProtocolError } from '../../errors.ts';

/** Commands of version 1. UPD (4) belongs to version 2. */
export const Command = { syn: 0, fin: 1, psh: 2, nop: 3 } as const;
export type Command = (typeof Command)[keyof typeof Command];

/** byte ver, byte cmd, uint16 length, uint32 streamId; unlike the data channel's, integers are little-endian. */
export const headerLength = 8;
/** What the references put into one frame at most; the length field would take 65,535. */
export const maxDataLength = 32_768;

const version = 1;

/** `data` in pieces, at most 65,535 bytes in all. */
export function serializeFrame(command: Command, streamId: number, data: Uint8Array[] = []): Buffer {
  const length = data.reduce((sum, piece) => sum + piece.length, 0);
  const frame = Buffer.allocUnsafe(headerLength + length);
  frame[0] = version;
  frame[1] = command;
  frame.writeUInt16LE(length, 2);
  frame.writeUInt32LE(streamId, 4);
  let at = headerLength;
  for (const piece of data) {
    frame.set(piece, at);
    at += piece.length;
  }
  return frame;
}

export interface Frame {
  command: Command;
  streamId: number;
  /** Of a PSH frame: its data, or a part of it where the rest has not come yet. */
  data: Buffer;
}

const nothing = Buffer.alloc(0);

/** Takes chunks in the order of the stream, gives frames. */
export class FrameReader {
  readonly #header = Buffer.alloc(headerLength);
  #headerBytes = 0;
  /** Data of the current PSH frame that is still to come. */
  #missing = 0;

  /** True between two frames: a stream that ends here is whole. */
  get atBoundary(): boolean {
    return this.#headerBytes === 0 && this.#missing === 0;
  }

  /**
   * Data is given as views of `chunk`.
   * @throws ProtocolError `mux` for another version or command; nothing that follows can be read then
   */
  read(chunk: Buffer): Frame[] {
    const frames: Frame[] = [];
    let at = 0;
    while (at < chunk.length) {
      if (this.#missing > 0) {
        const data = chunk.subarray(at, at + this.#missing);
        this.#missing -= data.length;
        at += data.length;
        frames.push({ command: Command.psh, streamId: this.#streamId, data });
        continue;
      }
      const taken = chunk.copy(this.#header, this.#headerBytes, at, at + headerLength - this.#headerBytes);
      this.#headerBytes += taken;
      at += taken;
      if (this.#headerBytes < headerLength) break;
      this.#headerBytes = 0;
      const frame = this.#readHeader();
      if (frame !== undefined) frames.push(frame);
    }
    return frames;
  }

  get #streamId(): number {
    return this.#header.readUInt32LE(4);
  }

  /** Undefined for a PSH frame: its data is what counts. */
  #readHeader(): Frame | undefined {
    const [ver, cmd] = this.#header as unknown as [number, number];
    if (ver !== version) throw malformed(`a frame of version ${ver}`);
    switch (cmd) {
      case Command.psh:
        this.#missing = this.#header.readUInt16LE(2);
        return undefined;
      case Command.syn:
      case Command.fin:
      case Command.nop:
        // The reference reads no data behind these, whatever their length says (observed: smux 1.5.15, recvLoop).
        return { command: cmd, streamId: this.#streamId, data: nothing };
      default:
        throw malformed(`a frame with command ${cmd}`);
    }
  }
}

function malformed(what: string): ProtocolError {
  return new ProtocolError('mux', `the agent sent ${what} in a multiplexed session`, { side: 'remote' });
}
