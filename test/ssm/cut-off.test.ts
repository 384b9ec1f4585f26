// A message cut off behind its header must not be taken for one that never had a payload (found by scripts/sim, seed 516).
import t from 'tap';
import { MessageType, overhead, PayloadType, parseMessage, serializeMessage } from '../../src/ssm/message.ts';

t.test('a message that lost its whole payload fails its digest; one without payload passes', (t) => {
  const fields = {
    messageType: MessageType.outputStreamData,
    createdDate: 1_700_000_000_000,
    sequenceNumber: 2,
    flags: 0,
    messageId: '01234567-89ab-4cde-8f01-23456789abcd',
    payloadType: PayloadType.output,
  };
  const whole = serializeMessage({ ...fields, payload: Buffer.from('SSH-2.0-x\r\n') });
  t.notOk(parseMessage(whole.subarray(0, overhead)).digestMatches());
  t.ok(parseMessage(serializeMessage({ ...fields, payload: Buffer.alloc(0) })).digestMatches());
  t.end();
});
