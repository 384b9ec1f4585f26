// Messages for the simulation: what the gateway says itself, what nobody should say, and what damage does. Damage
// stays within what its receiver can notice: digests cover payloads only, and the agent does not check even those
// (protocol.md 3.3), so beyond this no client could keep the stream whole.
import {
  HeaderFlags,
  type Message,
  MessageType,
  overhead,
  PayloadType,
  parseMessage,
  serializeAcknowledge,
  serializeMessage,
} from '../../src/ssm/message.ts';
import type { Random } from './random.ts';

const payloadDigest = 80; // Offset, protocol.md section 3.
/** Above every number that a run can reach, and above the client's reorder buffer. */
const farAhead = 1_000_000;

/** channel_closed, start_publication or pause_publication, in either of their layouts (protocol.md 3.2). */
export function serviceMessage(random: Random, messageType: string, payload: object | undefined): Buffer {
  return serializeMessage({
    messageType,
    createdDate: 1,
    sequenceNumber: 0,
    flags: HeaderFlags.unsequenced,
    messageId: random.uuid(),
    payloadType: PayloadType.none,
    payload: payload === undefined ? new Uint8Array() : Buffer.from(JSON.stringify(payload)),
    headerLength: random.pick([112, 116]),
  });
}

/** Bytes that no peer should send, and that must change nothing. */
export function garbage(random: Random): Buffer {
  const messageType = random.pick([
    'agent_job',
    'interactive_shell',
    MessageType.acknowledge,
    MessageType.outputStreamData,
  ]);
  const sequenceNumber = random.pick([-1, farAhead, farAhead + random.integer(0, 1e9)]);
  const message = serializeMessage({
    messageType,
    createdDate: random.integer(0, 1),
    sequenceNumber: Math.max(0, sequenceNumber),
    flags: random.uint32(),
    messageId: random.uuid(),
    payloadType: random.integer(0, 14),
    payload:
      messageType === MessageType.acknowledge
        ? serializeAcknowledge({ messageType: MessageType.outputStreamData, messageId: random.uuid(), sequenceNumber })
        : random.bytes(random.integer(0, 200)),
  });
  // Stream data of low numbers with a valid digest would be part of the stream.
  if (sequenceNumber < 0 && messageType === MessageType.outputStreamData) spoil(message, payloadDigest, random);
  switch (random.integer(0, 3)) {
    case 0:
      return random.bytes(random.integer(0, 300));
    case 1:
      return message.subarray(0, random.integer(0, overhead - 1));
    default:
      return message;
  }
}

/** For the client: anything but the header of a message, whose fields no digest protects. */
export function damageForClient(bytes: Buffer, random: Random): Buffer | undefined {
  const damaged = Buffer.from(bytes);
  switch (random.integer(0, 3)) {
    case 0:
      damaged.writeUInt32BE(random.uint32(), 0);
      return damaged;
    case 1:
      return damaged.subarray(0, random.integer(0, overhead));
    case 2:
      spoil(damaged, payloadDigest + random.integer(0, 31), random);
      return damaged;
    default:
      spoil(damaged, random.integer(overhead, damaged.length - 1), random);
      return damaged;
  }
}

/** For the agent: what leaves no message at all. */
export function damageForAgent(bytes: Buffer, random: Random): Buffer | undefined {
  if (random.chance(0.5)) return bytes.subarray(0, random.integer(0, overhead - 1));
  const damaged = Buffer.from(bytes);
  damaged.writeUInt32BE(117 + random.integer(0, 1e9), 0);
  return damaged;
}

function spoil(bytes: Buffer, at: number, random: Random): void {
  bytes[at] = bytes[at]! ^ (1 << random.integer(0, 7));
}

/** The sequence number of stream data that the client must take for its own; undefined for anything else. */
export function outputNumber(bytes: Buffer): number | undefined {
  const message = read(bytes);
  if (message?.messageType !== MessageType.outputStreamData || !message.digestMatches()) return undefined;
  return message.sequenceNumber < farAhead ? message.sequenceNumber : undefined;
}

/** One word or two for the trace. */
export function describe(bytes: Buffer): string {
  const message = read(bytes);
  if (message === undefined) return `garbage of ${bytes.length} bytes`;
  const { messageType, sequenceNumber, payloadType, payload } = message;
  if (messageType === MessageType.acknowledge)
    return `acknowledge ${/"AcknowledgedMessageSequenceNumber":(-?\d+)/.exec(payload.toString())?.[1]}`;
  const kind = Object.entries(PayloadType).find(([, value]) => value === payloadType)?.[0] ?? payloadType;
  return `${messageType} ${sequenceNumber} ${kind} (${payload.length})`;
}

function read(bytes: Buffer): Message | undefined {
  try {
    return parseMessage(bytes);
  } catch {
    return undefined;
  }
}
