// The sending half by itself, and what it has to send.
import type { Test } from 'tap';
import { PayloadType, sealMessage } from '../../src/ssm/message.ts';
import { Outgoing, type OutgoingOptions } from '../../src/ssm/outgoing.ts';
import { Pace } from '../../src/ssm/pace.ts';
import { inWords } from './peer.ts';

export function outgoing(options: Partial<OutgoingOptions> = {}): Outgoing {
  let sealed = 0;
  return new Outgoing({
    maxPayloadBytes: 1024,
    windowMessages: 1000,
    windowBytes: 4 * 2 ** 20,
    pace: new Pace(1_000_000),
    epoch: 0,
    seal: (message, sequenceNumber, payloadType, now) =>
      sealMessage(message, {
        messageType: 'input_stream_data',
        createdDate: 1_700_000_000_000 + Math.round(now),
        sequenceNumber,
        flags: 0,
        messageId: `01234567-89ab-4cde-8f01-${String(sealed++).padStart(12, '0')}`,
        payloadType,
      }),
    ...options,
  });
}

/** Past the handshake. */
export function open(options: Partial<OutgoingOptions> = {}): Outgoing {
  const out = outgoing(options);
  out.allowData(0);
  return out;
}

export function write(out: Outgoing, bytes: string | Uint8Array): void {
  out.write(Buffer.from(bytes), PayloadType.output);
}

/** All messages that may go at `now`. The law that must never break: with none left, nothing is due. */
export function drain(t: Test, out: Outgoing, now: number): Buffer[] {
  const messages: Buffer[] = [];
  for (let message = out.next(now); message !== undefined; message = out.next(now)) messages.push(message);
  const deadline = out.deadline(now);
  if (deadline !== undefined && deadline <= now) t.fail(`due at ${deadline}, but nothing came at ${now}`);
  return messages;
}

export function sent(t: Test, out: Outgoing, now: number): string[] {
  return drain(t, out, now).map(inWords);
}
