import { readFileSync } from 'node:fs';
import t from 'tap';
import { channelClosed, publication, serializeServiceMessage } from './service-message.ts';

interface Vector {
  name: string;
  hex: string;
  fields: { createdDate: number; messageId: string; payloadHex: string; headerLength: 112 | 116 };
}

const { vectors } = JSON.parse(
  readFileSync(new URL('../../vectors/golden-messages.json', import.meta.url), 'utf8'),
) as { vectors: Vector[] };

for (const name of ['channel_closed/header112', 'channel_closed/header116']) {
  t.test(`${name} is made as recorded, byte for byte`, async (t) => {
    const vector = vectors.find((candidate) => candidate.name === name)!;
    const { createdDate, messageId, payloadHex, headerLength } = vector.fields;
    const bytes = serializeServiceMessage({
      messageType: 'channel_closed',
      createdDate,
      messageId,
      payload: Buffer.from(payloadHex, 'hex'),
      headerLength,
    });
    t.equal(bytes.toString('hex'), vector.hex);
  });
}

t.test('every service message has an id of its own', async (t) => {
  const ids = [channelClosed('s', '', 0, 112), channelClosed('s', '', 0, 112), publication('start_publication', 0)];
  t.equal(new Set(ids.map((bytes) => bytes.toString('hex', 64, 80))).size, 3);
});
