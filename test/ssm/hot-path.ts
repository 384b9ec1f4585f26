// What a message costs on its way through frames and channel, as bytes allocated: a number that a busy machine does not
// change. Run by hot-path.test.ts in a process of its own, with a young generation so large that nothing is collected
// while it counts, and without the optimizing compilers, whose moment differs from run to run.
import { randomUUID } from 'node:crypto';
import { DataChannel } from '../../src/ssm/channel.ts';
import { parseMessage } from '../../src/ssm/message.ts';
import { FrameReader, frameRoom, Opcode, writeFrame } from '../../src/websocket/frame.ts';
import { acknowledge, handshakeComplete, handshakeRequest, output } from './peer.ts';

const warmUp = 200;
const counted = 1_000;
const downBytes = 1_024;
const upBytes = 32_768;
const msPerMessage = 2;

function openChannel(): DataChannel {
  const channel = new DataChannel({
    clientVersion: '1.2.896.0',
    maxPayloadBytes: upBytes,
    maxMessagesPerSecond: 100_000,
    epoch: 1_700_000_000_000,
    uuid: randomUUID,
  });
  channel.receive(handshakeRequest(), 0);
  while (channel.next(0) !== undefined);
  channel.receive(acknowledge(0), 1);
  channel.receive(handshakeComplete(), 1);
  channel.receive(output(2, 'SSH-2.0-x\r\n'), 1);
  while (channel.next(1_000) !== undefined);
  return channel;
}

/** As the gateway frames it: not masked. */
function frameOf(message: Buffer): Buffer {
  const header = Buffer.from([0x82, 126, message.length >> 8, message.length & 0xff]);
  return Buffer.concat([header, message]);
}

/** Heap bytes per message, buffers apart: these are pools' and the caller's. */
function count(messages: number, each: (at: number) => void): number {
  for (let at = 0; at < warmUp; at += 1) each(at);
  globalThis.gc!();
  const before = process.memoryUsage().heapUsed;
  for (let at = warmUp; at < warmUp + messages; at += 1) each(at);
  return (process.memoryUsage().heapUsed - before) / messages;
}

function download(): number {
  const channel = openChannel();
  const payload = Buffer.alloc(downBytes, 7);
  const frames = Array.from({ length: warmUp + counted }, (_, at) => frameOf(output(3 + at, payload)));
  const room = Buffer.alloc(frameRoom(4_096));
  let delivered = 0;
  let now = 2_000;
  const reader = new FrameReader({
    data(bytes) {
      for (const event of channel.receive(bytes, now)) if (event.type === 'output') delivered += event.bytes.length;
    },
    ping() {},
    pong() {},
    close() {},
  });
  const cost = count(counted, (at) => {
    reader.receive(frames[at]!);
    now += msPerMessage;
    for (let next = channel.next(now); next !== undefined; next = channel.next(now)) {
      writeFrame(Opcode.binary, next, room);
    }
  });
  if (delivered !== (warmUp + counted) * downBytes) throw new Error(`${delivered} bytes were delivered`);
  return cost;
}

function upload(): number {
  const channel = openChannel();
  const chunk = Buffer.alloc(upBytes, 7);
  const room = Buffer.alloc(frameRoom(2 * upBytes));
  // Found out beforehand, so that what the peer does is not counted.
  const acknowledgements = Array.from({ length: 40_000 }, (_, number) => acknowledge(number));
  let sent = 0;
  let now = 2_000;
  const cost = count(counted, () => {
    channel.write(chunk);
    now += msPerMessage;
    const numbers: number[] = [];
    for (let next = channel.next(now); next !== undefined; next = channel.next(now)) {
      writeFrame(Opcode.binary, next, room);
      const { sequenceNumber, payload } = parseMessage(next);
      numbers.push(sequenceNumber);
      sent += payload.length;
    }
    for (const number of numbers) channel.receive(acknowledgements[number]!, now + 1);
  });
  if (sent < counted * upBytes) throw new Error(`${sent} bytes were sent`);
  return cost;
}

process.stdout.write(JSON.stringify({ download: download(), upload: upload() }));
