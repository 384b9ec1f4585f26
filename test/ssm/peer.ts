// The agent's messages, for tests of the client's side: what an agent 3.3.1142.0 would write (protocol.md sections 3 to 5).
import {
  HeaderFlags,
  type Message,
  MessageType,
  PayloadType,
  parseAcknowledge,
  parseMessage,
  serializeAcknowledge,
  serializeMessage,
} from '../../src/ssm/message.ts';

export const agentVersion = '3.3.1142.0';
const messageId = 'b1a2c3d4-e5f6-4711-8213-141516171819';
const createdDate = 1_700_000_000_000;

export function streamData(sequenceNumber: number, payloadType: number, payload: string | Uint8Array): Buffer {
  return serializeMessage({
    messageType: MessageType.outputStreamData,
    createdDate,
    sequenceNumber,
    flags: HeaderFlags.data,
    messageId,
    payloadType,
    payload: Buffer.from(payload),
  });
}

export function output(sequenceNumber: number, payload: string | Uint8Array): Buffer {
  return streamData(sequenceNumber, PayloadType.output, payload);
}

export function handshakeRequest(sequenceNumber = 0, properties: object = { portNumber: '22' }): Buffer {
  const actions = [{ ActionType: 'SessionType', ActionParameters: { SessionType: 'Port', Properties: properties } }];
  const request = { AgentVersion: agentVersion, RequestedClientActions: actions };
  return streamData(sequenceNumber, PayloadType.handshakeRequest, JSON.stringify(request));
}

export function handshakeComplete(sequenceNumber = 1, customerMessage = ''): Buffer {
  const complete = { HandshakeTimeToComplete: 11_096_677, CustomerMessage: customerMessage };
  return streamData(sequenceNumber, PayloadType.handshakeComplete, JSON.stringify(complete));
}

/** Not stream data: unsequenced, as acknowledgements and the service's messages are. */
export function unsequenced(messageType: string, payload: string | Uint8Array, headerLength = 116): Buffer {
  return serializeMessage({
    messageType,
    createdDate,
    sequenceNumber: 0,
    flags: HeaderFlags.unsequenced,
    messageId,
    payloadType: PayloadType.none,
    payload: Buffer.from(payload),
    headerLength,
  });
}

/** @param headerNumber what the header claims; only the JSON counts (4.2) */
export function acknowledge(sequenceNumber: number): Buffer {
  const acknowledged = { messageType: MessageType.inputStreamData, messageId, sequenceNumber };
  return unsequenced(MessageType.acknowledge, serializeAcknowledge(acknowledged));
}

export function channelClosed(text = '', headerLength = 112): Buffer {
  const closed = { MessageType: 'channel_closed', SchemaVersion: 1, SessionId: 's', Output: text };
  return unsequenced(MessageType.channelClosed, JSON.stringify(closed), headerLength);
}

/** A sent message in few words: `ack 3`, `data 1 "hello"`, `flag 2 00000002`, `answer 0`, `size 4 32768`. */
export function inWords(bytes: Uint8Array): string {
  const message = parseMessage(bytes);
  if (message.messageType === MessageType.acknowledge) return `ack ${parseAcknowledge(message.payload).sequenceNumber}`;
  const number = message.sequenceNumber;
  switch (message.payloadType) {
    case PayloadType.output:
      return `data ${number} ${shown(message)}`;
    case PayloadType.flag:
      return `flag ${number} ${message.payload.toString('hex')}`;
    case PayloadType.handshakeResponse:
      return `answer ${number}`;
    case PayloadType.size:
      return `size ${number} ${message.payload.length}`;
    default:
      return `${message.messageType} ${number} of type ${message.payloadType}`;
  }
}

function shown({ payload }: Message): string {
  return payload.length > 40 ? String(payload.length) : JSON.stringify(payload.toString('latin1'));
}
