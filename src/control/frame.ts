// Frames of the local socket, bytes ⇄ value (PROTOCOL.md, "The control socket"). Pure; no frame is larger than its bound,
// and nothing after the last frame is touched: the bytes that follow belong to ssh and its target.
import { ProtocolError } from '../errors.ts';

/** Message numbers. PROTOCOL.md has the same table; numbers are never reused. */
export const FrameType = {
  hello: 1,
  open: 2,
  progress: 3,
  resolve: 4,
  resolved: 5,
  ready: 6,
  go: 7,
  error: 8,
  status: 9,
  statusReply: 10,
  retire: 11,
  done: 12,
} as const;

export type FrameType = (typeof FrameType)[keyof typeof FrameType];

export interface Frame {
  type: number;
  body: Record<string, unknown>;
}

/** Bound of a frame's length field: an environment with long values fits, a peer gone wild does not. */
export const maxFrameLength = 512 * 1024;

const known = new Set<number>(Object.values(FrameType));

/** uint32 length, byte type, byte[length − 1] JSON object in UTF-8. */
export function serializeFrame(type: FrameType, body: object = {}): Buffer {
  const json = Buffer.from(JSON.stringify(body));
  const frame = Buffer.allocUnsafe(5 + json.length);
  frame.writeUInt32BE(1 + json.length, 0);
  frame[4] = type;
  json.copy(frame, 5);
  if (1 + json.length > maxFrameLength) {
    throw new ProtocolError('control-frame', `a frame of ${1 + json.length} bytes is too large`, { side: 'local' });
  }
  return frame;
}

/** Takes chunks, gives frames one by one. What was taken and is no frame's is given back by `rest()`. */
export class FrameReader {
  #chunks: Buffer[] = [];
  #length = 0;

  /** Bytes taken and not given out. */
  get length(): number {
    return this.#length;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }

  /**
   * The next whole frame, or undefined until more bytes come.
   * @throws ProtocolError `control-frame`
   */
  next(): Frame | undefined {
    if (this.#length < 5) return undefined;
    const head = this.#chunks[0]!.length >= 5 ? this.#chunks[0]! : this.#join();
    const length = head.readUInt32BE(0);
    if (length < 1 || length > maxFrameLength) throw malformed(`a length of ${length}`);
    const type = head[4]!;
    if (!known.has(type)) throw malformed(`a frame of unknown type ${type}`);
    if (this.#length < 4 + length) return undefined;
    const bytes = this.#join();
    const body = parseBody(bytes.subarray(5, 4 + length));
    this.#chunks = [];
    this.#length = 0;
    this.push(bytes.subarray(4 + length));
    return { type, body };
  }

  /** The bytes behind the frames that were read, and nothing more of them from here. */
  rest(): Buffer {
    const rest = this.#join();
    this.#chunks = [];
    this.#length = 0;
    return rest;
  }

  #join(): Buffer {
    if (this.#chunks.length !== 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0]!;
  }
}

function parseBody(json: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(json.toString('utf8'));
  } catch (cause) {
    throw malformed('a body that is not JSON', cause);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed('a body that is no object');
  return value as Record<string, unknown>;
}

function malformed(what: string, cause?: unknown): ProtocolError {
  return new ProtocolError('control-frame', `the peer on the control socket sent ${what}`, { side: 'remote', cause });
}
