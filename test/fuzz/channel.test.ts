// The client's channel and the agent's against any sequence of messages, bytes and calls: neither ever throws, sends
// what it must not, or keeps more than its bounds.
import fc from 'fast-check';
import t from 'tap';
import { DataChannel } from '../../src/ssm/channel.ts';
import {
  HeaderFlags,
  MessageType,
  PayloadType,
  parseMessage,
  serializeAcknowledge,
  serializeMessage,
} from '../../src/ssm/message.ts';
import { AgentChannel } from '../region/agent/channel.ts';
import { anyBytes, anyPayload } from './arbitrary-messages.ts';
import { runs } from './runs.ts';

const plain = { createdDate: 1, messageId: '01234567-89ab-4cde-8f01-23456789abcd' };
const windowMessages = 50;
const windowBytes = 64 * 1024;
const maxPayloadBytes = 4096;

function newChannel(): DataChannel {
  return new DataChannel({
    clientVersion: '1.2.896.0',
    maxPayloadBytes,
    maxMessagesPerSecond: 900,
    windowMessages,
    windowBytes,
    epoch: Date.UTC(2026, 0, 1),
    uuid: () => plain.messageId,
  });
}

type Step =
  | { do: 'receive'; bytes: Buffer }
  /** The peer's next message in order, or the same as before. */
  | { do: 'stream'; payloadType: number; payload: Buffer; again: boolean }
  | { do: 'acknowledge'; number: number }
  | { do: 'write'; length: number }
  | { do: 'next'; times: number }
  | { do: 'wait'; ms: number }
  | { do: 'reconnect'; closeCode: number | undefined }
  | { do: 'terminate' };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 10, arbitrary: fc.record({ do: fc.constant('receive' as const), bytes: anyBytes }) },
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constant('stream' as const),
      payloadType: fc.constantFrom(...Object.values(PayloadType)),
      payload: anyPayload.map((payload) => Buffer.from(payload)),
      again: fc.boolean(),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('acknowledge' as const), number: fc.nat({ max: 30 }) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('write' as const), length: fc.nat({ max: 20_000 }) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('next' as const), times: fc.nat({ max: 60 }) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat({ max: 3000 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('reconnect' as const),
      closeCode: fc.constantFrom(undefined, 1000, 1006, 1009),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ do: 'terminate' as const }) },
);

const steps = fc.array(step, { maxLength: 80, size: 'max' });

t.test('the client never throws, never speaks before the handshake, and keeps within its window', async (t) => {
  let openedRuns = 0;
  let allRuns = 0;
  const property = fc.property(steps, (steps) => {
    const channel = newChannel();
    let now = 0;
    let sequenceNumber = 0;
    let opened = false;
    let closed = false;
    const receive = (bytes: Buffer) => {
      for (const event of channel.receive(bytes, now)) {
        if (closed) throw new Error('an event after the end');
        if (event.type === 'opened') opened = true;
        if (event.type === 'closed') closed = true;
      }
    };
    for (const action of steps) {
      switch (action.do) {
        case 'receive':
          receive(action.bytes);
          break;
        case 'stream':
          receive(streamData(sequenceNumber, action.payload, action.payloadType));
          if (!action.again) sequenceNumber++;
          break;
        case 'acknowledge':
          receive(acknowledgeFor(MessageType.inputStreamData, action.number));
          break;
        case 'write':
          channel.write(Buffer.alloc(action.length));
          break;
        case 'next':
          for (let i = 0; i < action.times; i++) check(channel.next(now), opened, closed);
          break;
        case 'wait':
          now += action.ms;
          break;
        case 'reconnect':
          channel.reconnected(action.closeCode);
          break;
        case 'terminate':
          channel.terminate();
      }
      const deadline = channel.deadline(now);
      if (deadline !== undefined && !Number.isFinite(deadline)) throw new Error(`deadline ${deadline}`);
      if (channel.inFlightBytes > windowBytes + maxPayloadBytes) throw new Error('beyond the window');
    }
    allRuns++;
    if (opened) openedRuns++;
  });
  fc.assert(property, runs(500));
  t.ok(openedRuns > allRuns / 50, `${openedRuns} of ${allRuns} runs came past the handshake`);
});

function check(message: Buffer | undefined, opened: boolean, closed: boolean): void {
  if (message === undefined) return;
  const { messageType, payloadType } = parseMessage(message);
  if (closed) throw new Error('a message after the end');
  if (messageType === MessageType.acknowledge) return;
  if (messageType !== MessageType.inputStreamData) throw new Error(`sent ${messageType}`);
  if (!opened && payloadType !== PayloadType.handshakeResponse) throw new Error('spoke before HandshakeComplete');
}

t.test('what the client acknowledged and has not delivered stays within 10,000 messages and 16 MiB', async (t) => {
  for (const payloadLength of [1, 4096]) {
    const channel = newChannel();
    let acknowledged = 0;
    for (let number = 1; number <= 30_000; number++) {
      channel.receive(streamData(number, Buffer.alloc(payloadLength)), 0);
      while (channel.next(0) !== undefined) acknowledged++;
    }
    t.ok(acknowledged > 1000, 'it does keep what comes early');
    t.ok(acknowledged <= 10_000, `${acknowledged} messages`);
    t.ok(acknowledged * payloadLength <= 16 * 2 ** 20, `${acknowledged * payloadLength} bytes`);
  }
});

t.test('acknowledgements that nobody fetches do not pile up', async (t) => {
  const channel = newChannel();
  const message = streamData(0, Buffer.alloc(1));
  for (let i = 0; i < 50_000; i++) channel.receive(message, 0);
  let pending = 0;
  while (channel.next(0) !== undefined) pending++;
  t.ok(pending > 0 && pending <= 20_000, `${pending}`);
});

function streamData(
  sequenceNumber: number,
  payload: Buffer,
  payloadType: number = PayloadType.output,
  messageType: string = MessageType.outputStreamData,
): Buffer {
  return serializeMessage({ ...plain, messageType, sequenceNumber, flags: HeaderFlags.data, payloadType, payload });
}

function acknowledgeFor(messageType: string, sequenceNumber: number): Buffer {
  return serializeMessage({
    ...plain,
    messageType: MessageType.acknowledge,
    sequenceNumber: 0,
    flags: HeaderFlags.unsequenced,
    payloadType: PayloadType.none,
    payload: serializeAcknowledge({ messageType, messageId: plain.messageId, sequenceNumber }),
  });
}

t.test('the agent of the region never throws for what a client sends', async (t) => {
  let openRuns = 0;
  let allRuns = 0;
  const property = fc.property(steps, (steps) => {
    const agent = new AgentChannel({ agentVersion: '3.3.1142.0', properties: {} });
    let now = 0;
    let sequenceNumber = 0;
    let open = false;
    agent.start(now);
    for (const action of steps) {
      switch (action.do) {
        case 'receive':
          agent.receive(action.bytes, now);
          break;
        case 'stream':
          agent.receive(
            streamData(sequenceNumber, action.payload, action.payloadType, MessageType.inputStreamData),
            now,
          );
          if (!action.again) sequenceNumber++;
          break;
        case 'acknowledge':
          agent.receive(acknowledgeFor(MessageType.outputStreamData, action.number), now);
          break;
        case 'write':
          agent.socketData(Buffer.alloc(Math.min(action.length, 1024)), now);
          break;
        case 'next':
          agent.dialled();
          break;
        case 'wait':
          now += action.ms;
          break;
        case 'reconnect':
          agent.socketEof(now);
      }
      agent.tick(now);
      while (agent.blocked) agent.written(now);
      open ||= agent.readAt() !== undefined;
    }
    allRuns++;
    if (open) openRuns++;
  });
  fc.assert(property, runs(500));
  t.ok(openRuns > allRuns / 50, `${openRuns} of ${allRuns} runs came to an open connection`);
});
