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
  forward: 13,
  forwarding: 14,
  connection: 15,
  down: 16,
  asking: 17,
} as const;

export type FrameType = (typeof FrameType)[keyof typeof FrameType];

export interface Frame {
  type: number;
  body: Record<string, unknown>;
}

/** Bound of a frame's length field: any environment that the kernel lets a process have fits, a peer gone wild does not. */
export const maxFrameLength = 4 * 2 ** 20;

const known = new Set<number>(Object.values(FrameType));

/** uint32 length, byte type, byte[length − 1] JSON object in UTF-8. */
export function serializeFrame(type: FrameType, body: object = {}): Buffer {
  const json = Buffer.from(JSON.stringify(body));
  const length = 1 + json.length;
  if (length > maxFrameLength) {
    throw new ProtocolError('control-frame', `a frame of ${length} bytes is too large`, { side: 'local' });
  }
  const frame = Buffer.allocUnsafe(4 + length);
  frame.writeUInt32BE(length, 0);
  frame[4] = type;
  json.copy(frame, 5);
  return frame;
}

/** Takes chunks, gives frames one by one. What was taken and is no frame's is given back by `rest()`. */
export class FrameReader {
  /** One buffer that grows, and no list of chunks: thousands of tiny ones would cost more than their bytes. */
  #space = Buffer.alloc(0);
  #length = 0;

  /** Bytes taken and not given out. */
  get length(): number {
    return this.#length;
  }

  push(chunk: Buffer): void {
    const length = this.#length + chunk.length;
    if (length > this.#space.length) {
      const space = Buffer.allocUnsafe(Math.max(length, 2 * this.#space.length));
      this.#space.copy(space, 0, 0, this.#length);
      this.#space = space;
    }
    chunk.copy(this.#space, this.#length);
    this.#length = length;
  }

  /**
   * The next whole frame, or undefined until more bytes come.
   * @throws ProtocolError `control-frame`; where the frames end is not known then, so nothing can follow
   */
  next(): Frame | undefined {
    if (this.#length < 5) return undefined;
    const length = this.#space.readUInt32BE(0);
    if (length < 1 || length > maxFrameLength) throw malformed(`a length of ${length}`);
    const type = this.#space[4]!;
    if (!known.has(type)) throw malformed(`a frame of unknown type ${type}`);
    const end = 4 + length;
    if (this.#length < end) return undefined;
    const body = parseBody(this.#space.subarray(5, end));
    this.#space.copyWithin(0, end, this.#length);
    this.#length -= end;
    return { type, body };
  }

  /** The bytes behind the frames that were read, and nothing more of them from here. */
  rest(): Buffer {
    const rest = this.#space.subarray(0, this.#length);
    this.#space = Buffer.alloc(0);
    this.#length = 0;
    return rest;
  }
}

/** What a body holds stays out of the error: it may be a secret, and JSON's own errors quote it. */
function parseBody(json: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(json.toString('utf8'));
  } catch {
    throw malformed('a body that is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed('a body that is no object');
  return value as Record<string, unknown>;
}

function malformed(what: string): ProtocolError {
  return new ProtocolError('control-frame', `the peer on the control socket sent ${what}`, { side: 'remote' });
}
