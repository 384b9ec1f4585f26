// Which stream's bytes go next: deficit round robin with the newly busy before the lastingly busy (RFC 8290, section 4),
// so that a question never stands behind somebody else's upload. Pure.
//
// It also keeps one stream from taking the agent's buffer away from all others. smux version 1 has no window for each
// stream: when 4 MiB in a session wait for servers that don't read, the agent reads nothing more (protocol.md 6.3), and
// nothing on the wire says how much of it was read. What is known: a server that answers has read. So a stream that has
// sent a lot without a word from its server is slowed down, but only while other streams are in a conversation.

/** Bytes that a stream may send before it is the next one's turn; also the largest frame. */
export const quantumBytes = 16 * 1024;
/** What one stream may have sent since its server last said something, before it yields to conversations. */
export const unprovenBytes = 2 * 2 ** 20;
/** A question up to this size, with an answer, makes a conversation. */
const questionBytes = 64 * 1024;
/** For how long after an answer a conversation is taken to go on. */
const conversationMs = 500;
/** And after a further question, how long its answer is waited for: on a slow line, or by a node that is busy. */
const answerMs = 5_000;
/** A stream that yields sends a quantum so often: 64 KiB/s. Its server may just be slow. */
const trickleMs = 250;

interface Lane {
  readonly streamId: number;
  chunks: Uint8Array[];
  bytes: number;
  /** What is left of its turn. */
  deficit: number;
  /** Sent since the server was last heard. */
  unproven: number;
  /** When it first sent something since its server was last heard. */
  askedAt: number;
  /** When a small question was last answered. */
  answeredAt: number;
  /** When it may send in spite of conversations. */
  trickleAt: number;
}

const never = Number.POSITIVE_INFINITY;

export class SendQueue {
  readonly #lanes = new Map<number, Lane>();
  #fresh: Lane[] = [];
  #busy: Lane[] = [];

  open(streamId: number): void {
    this.#lanes.set(streamId, {
      streamId,
      chunks: [],
      bytes: 0,
      deficit: 0,
      unproven: 0,
      askedAt: 0,
      answeredAt: Number.NEGATIVE_INFINITY,
      trickleAt: 0,
    });
  }

  /** Forgets the stream, and what it has not sent. */
  close(streamId: number): void {
    const lane = this.#lanes.get(streamId);
    if (lane === undefined) return;
    this.#lanes.delete(streamId);
    this.#fresh = this.#fresh.filter((other) => other !== lane);
    this.#busy = this.#busy.filter((other) => other !== lane);
  }

  /** Bytes of the stream that wait here. */
  bytes(streamId: number): number {
    return this.#lanes.get(streamId)?.bytes ?? 0;
  }

  push(streamId: number, bytes: Uint8Array): void {
    const lane = this.#lanes.get(streamId);
    if (lane === undefined || bytes.length === 0) return;
    if (lane.bytes === 0) {
      lane.deficit = quantumBytes;
      this.#fresh.push(lane);
    }
    lane.chunks.push(bytes);
    lane.bytes += bytes.length;
  }

  /** The stream's server said something. */
  heard(streamId: number, now: number): void {
    const lane = this.#lanes.get(streamId);
    if (lane === undefined || lane.unproven === 0) return;
    if (lane.unproven <= questionBytes) lane.answeredAt = now;
    lane.unproven = 0;
  }

  /** Whether a stream has to wait for others at `now`: the session is better not given further ones. */
  holds(now: number): boolean {
    return [...this.#lanes.values()].some((lane) => lane.bytes > 0 && this.#mustYield(lane, now));
  }

  /** What goes next, at most a quantum; undefined if nothing may go now. */
  next(now: number): { streamId: number; data: Uint8Array[] } | undefined {
    for (let looked = this.#fresh.length + this.#busy.length; looked > 0; looked--) {
      const lane = this.#fresh[0] ?? this.#busy[0]!;
      if (lane.deficit <= 0) {
        lane.deficit += quantumBytes;
        this.#toBack(lane);
        looked++; // a turn, not a look
        continue;
      }
      if (this.#mustYield(lane, now) && lane.trickleAt > now) {
        this.#toBack(lane);
        continue;
      }
      lane.trickleAt = now + trickleMs;
      const length = Math.min(lane.bytes, quantumBytes);
      const data = take(lane, length);
      lane.deficit -= length;
      if (lane.unproven === 0) lane.askedAt = now;
      lane.unproven += length;
      if (lane.bytes === 0) this.#remove(lane);
      return { streamId: lane.streamId, data };
    }
    return undefined;
  }

  /** When next() may have something though nothing happens; undefined if never. */
  deadline(now: number): number | undefined {
    let at = never;
    for (const lane of [...this.#fresh, ...this.#busy]) {
      if (!this.#mustYield(lane, now)) return now;
      at = Math.min(at, Math.max(now, lane.trickleAt));
    }
    return at === never ? undefined : at;
  }

  #mustYield(lane: Lane, now: number): boolean {
    if (lane.unproven < unprovenBytes) return false;
    for (const other of this.#lanes.values()) {
      if (other !== lane && isInConversation(other, now)) return true;
    }
    return false;
  }

  #toBack(lane: Lane): void {
    this.#remove(lane);
    this.#busy.push(lane);
  }

  #remove(lane: Lane): void {
    if (this.#fresh[0] === lane) this.#fresh.shift();
    else this.#busy.shift();
  }
}

function isInConversation({ unproven, askedAt, answeredAt }: Lane, now: number): boolean {
  if (answeredAt === Number.NEGATIVE_INFINITY || unproven > questionBytes) return false;
  return now - answeredAt < conversationMs || (unproven > 0 && now - askedAt < answerMs);
}

function take(lane: Lane, length: number): Uint8Array[] {
  const data: Uint8Array[] = [];
  for (let missing = length; missing > 0; ) {
    const first = lane.chunks[0]!;
    const part = first.subarray(0, missing);
    data.push(part);
    missing -= part.length;
    if (part.length === first.length) lane.chunks.shift();
    else lane.chunks[0] = first.subarray(part.length);
  }
  lane.bytes -= length;
  return data;
}
