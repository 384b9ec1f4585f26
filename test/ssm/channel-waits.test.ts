// What the channel lets wait: acknowledgements for company, and the first data for the agent to be ready.
import t from 'tap';
import { DataChannel } from '../../src/ssm/channel.ts';
import { acknowledge, handshakeComplete, handshakeRequest, inWords, output } from './peer.ts';

function channel(): DataChannel {
  const uuid = () => '01234567-89ab-4cde-8f01-0123456789ab';
  return new DataChannel({
    clientVersion: '1.2.896.0',
    maxPayloadBytes: 1024,
    maxMessagesPerSecond: 900,
    epoch: 1e12,
    uuid,
  });
}

function sent(client: DataChannel, now: number): string[] {
  const words: string[] = [];
  for (let message = client.next(now); message !== undefined; message = client.next(now)) words.push(inWords(message));
  return words;
}

/** Past the handshake at 100, with nothing left to send. */
function opened(): DataChannel {
  const client = channel();
  client.receive(handshakeRequest(0), 90);
  sent(client, 93);
  client.receive(acknowledge(0), 95);
  client.receive(handshakeComplete(1), 100);
  sent(client, 104);
  return client;
}

t.test('acknowledgements wait 4 ms for others and leave together', async (t) => {
  const client = opened();
  client.receive(output(2, 'a'), 200);
  t.strictSame(sent(client, 200), []);
  t.equal(client.deadline(200), 204);
  client.receive(output(3, 'b'), 202);
  t.strictSame(sent(client, 203.9), []);
  t.strictSame(sent(client, 204), ['ack 2', 'ack 3']);
  t.equal(client.deadline(204), undefined);
});

t.test('data takes waiting acknowledgements along', async (t) => {
  const client = opened();
  client.receive(output(2, 'a'), 200);
  client.write(Buffer.from('key'));
  t.strictSame(sent(client, 201), ['data 1 "key"', 'ack 2']);
});

t.test('thirty-two acknowledgements do not wait', async (t) => {
  const client = opened();
  for (let n = 0; n < 31; n++) client.receive(output(2 + n, 'a'), 200);
  t.strictSame(sent(client, 200), []);
  client.receive(output(33, 'a'), 200);
  t.equal(sent(client, 200).length, 32);
});

t.test("data waits after the handshake until the target's first byte", async (t) => {
  const client = opened();
  client.write(Buffer.from('SSH-2.0-client'));
  t.strictSame(sent(client, 110), [], 'the agent would acknowledge it and throw it away');
  client.receive(output(2, 'SSH-2.0-target'), 120);
  t.strictSame(sent(client, 120), ['data 1 "SSH-2.0-client"', 'ack 2']);
});

t.test('or for 250 ms, where the client has to speak first', async (t) => {
  const client = opened();
  client.write(Buffer.from('GET /'));
  t.equal(client.deadline(110), 350);
  t.strictSame(sent(client, 349.9), []);
  t.strictSame(sent(client, 350), ['data 1 "GET /"']);
});
