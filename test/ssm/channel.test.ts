import { readFileSync } from 'node:fs';
import t from 'tap';
import { type ChannelOptions, DataChannel } from '../../src/ssm/channel.ts';
import { MessageType, PayloadType, parseAcknowledge, parseMessage } from '../../src/ssm/message.ts';
import {
  acknowledge,
  agentVersion,
  channelClosed,
  handshakeComplete,
  handshakeRequest,
  inWords,
  output,
  streamData,
  unsequenced,
} from './peer.ts';

const epoch = 1_700_000_000_000;

function channel(options: Partial<ChannelOptions> = {}): DataChannel {
  let ids = 0;
  return new DataChannel({
    clientVersion: '1.2.896.0',
    maxPayloadBytes: 1024,
    maxMessagesPerSecond: 1_000_000,
    epoch,
    // What waits is tested in channel-waits.test.ts.
    acknowledgeDelayMs: Number.NEGATIVE_INFINITY,
    holdAfterHandshakeMs: 0,
    uuid: () => `01234567-89ab-4cde-8f01-${(ids++).toString(16).padStart(12, '0')}`,
    ...options,
  });
}

/** Past the handshake, which took numbers 0 and 1 of the agent's and 0 of ours. */
function opened(options: Partial<ChannelOptions> = {}): DataChannel {
  const client = channel(options);
  client.receive(handshakeRequest(0), 0);
  all(client, 0);
  client.receive(acknowledge(0), 20);
  client.receive(handshakeComplete(1), 20);
  all(client, 20);
  return client;
}

function all(client: DataChannel, now: number): Buffer[] {
  const messages: Buffer[] = [];
  for (let message = client.next(now); message !== undefined; message = client.next(now)) messages.push(message);
  const deadline = client.deadline(now);
  if (deadline !== undefined && deadline <= now) throw new Error(`due at ${deadline}, but nothing came at ${now}`);
  return messages;
}

function sent(client: DataChannel, now: number): string[] {
  return all(client, now).map(inWords);
}

/** Events in few words: what a table can hold. */
function received(client: DataChannel, bytes: Uint8Array, now = 100): string[] {
  return client.receive(bytes, now).map((event) => {
    if (event.type === 'output') return `output ${event.bytes}`;
    if (event.type === 'closed') return `closed ${event.output}${event.missing ? ' missing' : ''}`;
    return event.type;
  });
}

t.test('the handshake: nothing else leaves before HandshakeComplete, whatever was asked for', async (t) => {
  const client = channel();
  client.write(Buffer.from('early'));
  client.terminate();
  client.write(Buffer.from('too late'));
  t.strictSame(sent(client, 0), []);
  t.equal(client.deadline(0), undefined);
  t.strictSame(received(client, handshakeRequest(0)), []);
  t.equal(client.agentVersion, agentVersion);
  t.strictSame(sent(client, 1), ['ack 0', 'answer 0']);
  t.strictSame(received(client, handshakeRequest(0)), [], 'the agent repeats it every 200 ms');
  t.strictSame(sent(client, 2), ['ack 0'], 'and is not answered twice');
  client.receive(acknowledge(0), 3);
  t.equal(client.state, 'handshaking');
  t.strictSame(sent(client, 3), []);
  t.strictSame(client.receive(handshakeComplete(1, 'hello'), 4), [
    { type: 'opened', agentVersion, customerMessage: 'hello' },
  ]);
  t.equal(client.state, 'open');
  t.strictSame(sent(client, 4), ['ack 1', 'data 1 "early"', 'flag 2 00000002']);
});

t.test('the handshake response is resent until it is acknowledged', async (t) => {
  const client = channel();
  client.receive(handshakeRequest(0), 0);
  t.strictSame(sent(client, 0), ['ack 0', 'answer 0']);
  t.equal(client.deadline(0), 200);
  t.strictSame(sent(client, 200), ['answer 0']);
  client.receive(acknowledge(0), 210);
  t.equal(client.deadline(210), undefined);
});

t.test('an impossible session is answered and reported', async (t) => {
  const client = channel();
  const request = { AgentVersion: '3', RequestedClientActions: [{ ActionType: 'KMSEncryption' }] };
  const [event] = client.receive(streamData(0, PayloadType.handshakeRequest, JSON.stringify(request)), 0);
  t.match(event, { type: 'refused', error: { code: 'unsupported-session', message: /KMSEncryption/ } });
  t.strictSame(sent(client, 0), ['ack 0', 'answer 0']);
});

t.test('a handshake that can not be read is acknowledged, dropped, and no end of the channel', async (t) => {
  for (const type of [PayloadType.handshakeRequest, PayloadType.handshakeComplete]) {
    for (const bad of ['', 'x', '[]', '{"AgentVersion":']) {
      const client = channel();
      client.receive(output(1, 'behind it'), 0);
      t.strictSame(received(client, streamData(0, type, bad)), ['dropped', 'output behind it']);
      t.strictSame(sent(client, 0), ['ack 1', 'ack 0']);
      t.equal(client.state, 'handshaking');
    }
  }
});

t.test('a JSON text made to break String() opens no hole', async (t) => {
  const client = channel();
  const hostile = '{"AgentVersion":{"toString":1},"RequestedClientActions":[{"ActionType":{"toString":1}}]}';
  t.strictSame(received(client, streamData(0, PayloadType.handshakeRequest, hostile)), ['refused']);
  const complete = '{"CustomerMessage":{"toString":1,"valueOf":2}}';
  t.strictSame(received(client, streamData(1, PayloadType.handshakeComplete, complete)), ['opened']);
  t.strictSame(received(client, unsequenced(MessageType.channelClosed, '{"Output":{"toString":1}}')), ['closed ']);
});

t.test('handshake messages in an open channel are acknowledged and change nothing', async (t) => {
  const client = opened();
  t.strictSame(received(client, handshakeRequest(2)), []);
  t.strictSame(received(client, handshakeComplete(3)), []);
  t.strictSame(sent(client, 100), ['ack 2', 'ack 3']);
});

t.test('output is delivered once and in order; what was taken or known is acknowledged', async (t) => {
  const client = opened();
  const table: [number, string[], string[]][] = [
    [2, ['output #2'], ['ack 2']],
    [2, [], ['ack 2']],
    [5, [], ['ack 5']],
    [4, [], ['ack 4']],
    [5, [], ['ack 5']],
    [3, ['output #3', 'output #4', 'output #5'], ['ack 3']],
    [0, [], ['ack 0']],
    [10_007, [], []],
    [10_006, [], ['ack 10006']],
    [6, ['output #6'], ['ack 6']],
  ];
  for (const [number, events, answers] of table) {
    const got = received(client, output(number, `#${number}`)).filter((event) => event !== 'dropped');
    t.strictSame(got, events, `events of ${number}`);
    t.strictSame(sent(client, 100), answers, `answers to ${number}`);
  }
});

t.test('a wrong digest: neither delivered nor acknowledged, and the right one still comes', async (t) => {
  const client = opened();
  const bytes = output(2, 'text');
  bytes[bytes.length - 1]! ^= 1;
  t.strictSame(client.receive(bytes, 0), [{ type: 'dropped', why: 'the digest is wrong' }]);
  t.strictSame(sent(client, 100), []);
  t.strictSame(received(client, output(2, 'text')), ['output text']);
  t.strictSame(sent(client, 100), ['ack 2']);
});

t.test('an acknowledgement is what the reference would write', async (t) => {
  const client = opened();
  client.receive(output(2, 'x'), 0);
  const message = parseMessage(client.next(1234.6)!);
  t.match(message, {
    messageType: 'acknowledge',
    headerLength: 116,
    schemaVersion: 1,
    createdDate: epoch + 1235,
    sequenceNumber: 0,
    flags: 3,
    payloadType: 0,
  });
  t.equal(
    message.payload.toString(),
    '{"AcknowledgedMessageType":"output_stream_data","AcknowledgedMessageId":"b1a2c3d4-e5f6-4711-8213-141516171819"' +
      ',"AcknowledgedMessageSequenceNumber":2,"IsSequentialMessage":true}',
  );
  t.ok(message.digestMatches());
});

t.test('data is what the reference would write, but for a lone line feed', async (t) => {
  const client = opened();
  client.write(Buffer.from('\n'));
  const message = parseMessage(client.next(30)!);
  t.match(message, {
    messageType: 'input_stream_data',
    sequenceNumber: 1,
    flags: 0,
    payloadType: 1,
    headerLength: 116,
  });
  t.equal(message.payload.toString('hex'), '0a', 'not 0d as the reference sends it (6.4)');
  t.ok(message.digestMatches());
});

t.test('acknowledgements, publications, ends and unknown types are never acknowledged', async (t) => {
  const client = opened();
  for (const type of [
    'acknowledge',
    'start_publication',
    'pause_publication',
    'agent_session_state',
    'interactive_shell',
  ]) {
    t.strictSame(
      received(client, unsequenced(type, '{}')).filter((event) => event !== 'dropped'),
      [],
    );
  }
  for (const type of ['start_publication', 'pause_publication']) {
    const garbage = unsequenced(type, 'garbage');
    garbage.fill(0xee, 80, 112);
    t.strictSame(received(client, garbage), []);
  }
  t.strictSame(sent(client, 100), []);
});

t.test('pause_publication holds back neither data nor acknowledgements', async (t) => {
  const client = opened();
  client.receive(unsequenced(MessageType.pausePublication, ''), 30);
  client.write(Buffer.from('x'));
  client.receive(output(2, 'y'), 30);
  t.strictSame(sent(client, 30), ['ack 2', 'data 1 "x"']);
});

t.test('the acknowledged number is the JSON\u2019s, not that of the header', async (t) => {
  const client = opened();
  client.write(Buffer.from('a'));
  t.strictSame(sent(client, 30), ['data 1 "a"']);
  const bytes = acknowledge(7);
  bytes.writeBigInt64BE(1n, 48);
  client.receive(bytes, 40);
  t.equal(client.drained, false);
  client.receive(acknowledge(1), 50);
  t.equal(client.drained, true);
  t.ok(client.roundTripMs);
});

t.test('a damaged acknowledgement releases nothing', async (t) => {
  const client = opened();
  client.write(Buffer.from('a'));
  sent(client, 30);
  const bytes = acknowledge(9);
  const at = bytes.indexOf('9,"IsSequential');
  bytes[at] = '1'.charCodeAt(0);
  t.equal(parseAcknowledge(parseMessage(bytes).payload).sequenceNumber, 1);
  t.strictSame(received(client, bytes), ['dropped']);
  t.equal(client.drained, false);
});

t.test('payload types that have no place in a port session never reach the reader', async (t) => {
  const client = opened();
  for (const [i, type] of [0, 2, 3, 4, 6, 8, 9, 10, 11, 12, 13, 0xffffffff].entries()) {
    t.strictSame(received(client, streamData(2 + i, type, 'x')), ['dropped'], String(type));
    t.strictSame(sent(client, 100), [`ack ${2 + i}`]);
  }
  const short = unsequenced(MessageType.outputStreamData, 'x', 112);
  short.writeBigInt64BE(14n, 48);
  t.strictSame(received(client, short), ['dropped']);
  t.strictSame(received(client, output(15, 'y')), ['output y'], 'but their numbers are counted');
});

t.test('an empty output is counted and acknowledged, and is no event', async (t) => {
  const client = opened();
  t.strictSame(received(client, output(2, '')), []);
  t.strictSame(received(client, output(3, 'x')), ['output x']);
  t.strictSame(sent(client, 100), ['ack 2', 'ack 3']);
});

t.test('the end of the session is understood in both layouts', async (t) => {
  const golden = JSON.parse(readFileSync(new URL('../vectors/golden-messages.json', import.meta.url), 'utf8'));
  for (const name of ['channel_closed/header116', 'channel_closed/header112']) {
    const { hex } = golden.vectors.find((vector: { name: string }) => vector.name === name);
    const client = opened();
    t.strictSame(received(client, Buffer.from(hex, 'hex')), [
      'closed Unable to connect to specified port: dial tcp 127.0.0.1:22: connect: connection refused',
    ]);
    t.equal(client.state, 'closed');
  }
});

t.test('the end of the session counts, whatever its text', async (t) => {
  for (const text of ['', 'x', '[]', '{}', '{"Output":7}']) {
    t.strictSame(received(opened(), unsequenced(MessageType.channelClosed, text, 112)), ['closed '], text);
  }
});

t.test('an end behind a gap says that bytes are missing', async (t) => {
  const client = opened();
  client.receive(output(3, 'late'), 0);
  t.strictSame(received(client, channelClosed('bye')), ['closed bye missing']);
  const whole = opened();
  whole.receive(output(3, 'b'), 0);
  whole.receive(output(2, 'a'), 0);
  t.strictSame(received(whole, channelClosed()), ['closed ']);
});

t.test('a closed channel takes and gives nothing', async (t) => {
  const client = opened();
  client.write(Buffer.from('x'));
  client.receive(output(2, 'y'), 30);
  client.receive(channelClosed(), 40);
  client.write(Buffer.from('z'));
  client.terminate();
  t.strictSame(received(client, output(3, 'z')), []);
  t.strictSame(sent(client, 50), []);
  t.equal(client.deadline(50), undefined);
});

t.test('the end of a session that never opened is one too', async (t) => {
  t.strictSame(received(channel(), channelClosed('no')), ['closed no']);
});

t.test('terminate goes behind all data, once, and nothing goes behind it', async (t) => {
  const client = opened();
  client.write(Buffer.alloc(2048, 'x'));
  client.terminate();
  client.terminate();
  client.write(Buffer.from('never'));
  t.strictSame(sent(client, 30), ['data 1 1024', 'data 2 1024', 'flag 3 00000002']);
  for (const number of [1, 2]) client.receive(acknowledge(number), 40);
  t.strictSame([client.delivered, client.drained], [true, false]);
  client.receive(acknowledge(3), 40);
  t.equal(client.drained, true);
});

t.test('acknowledgements go before data', async (t) => {
  const client = opened({ maxMessagesPerSecond: 10 });
  client.write(Buffer.alloc(3000, 'x'));
  for (let number = 2; number < 10; number++) client.receive(output(number, 'y'), 500);
  t.equal(client.deadline(500), 500);
  const messages = sent(client, 500);
  t.strictSame(
    messages.slice(0, 8),
    [2, 3, 4, 5, 6, 7, 8, 9].map((number) => `ack ${number}`),
  );
  t.ok(messages.length < 11, 'and do not wait for the pace');
});

t.test('no keystroke waits behind the acknowledgements of a download', async (t) => {
  const client = opened({ maxMessagesPerSecond: 900 });
  for (let now = 100, number = 2; now < 5100; now++, number++) {
    client.receive(output(number, 'y'), now);
    if (number % 100 === 0) client.write(Buffer.from('k'));
    const messages = sent(client, now);
    if (number % 100 === 0 && !messages.some((words) => words.endsWith('"k"'))) t.fail(`waits at ${now}`);
    for (const words of messages) {
      if (words.startsWith('data')) client.receive(acknowledge(Number(words.split(' ')[1])), now);
    }
  }
});

t.test('acknowledgements that nobody takes are kept within bounds', async (t) => {
  const client = opened();
  for (let i = 0; i < 20_005; i++) client.receive(output(2, 'x'), 30);
  t.equal(all(client, 30).length, 20_000);
});

t.test('a full window blocks the producer and evicts nothing', async (t) => {
  const client = opened({ windowMessages: 2 });
  client.write(Buffer.alloc(4096, 'x'));
  t.strictSame(sent(client, 30), ['data 1 1024', 'data 2 1024']);
  t.strictSame([client.backlogBytes, client.inFlightBytes], [2048, 2048]);
  client.receive(acknowledge(1), 31);
  t.strictSame(sent(client, 31), ['data 3 1024']);
});

t.test('what the dialling agent refused goes again as soon as there is output', async (t) => {
  const client = opened();
  client.write(Buffer.from('SSH-2.0-x'));
  t.strictSame(sent(client, 25), ['data 1 "SSH-2.0-x"']);
  client.receive(output(2, 'SSH-2.0-y'), 90);
  t.strictSame(sent(client, 90), ['ack 2', 'data 1 "SSH-2.0-x"'], 'and not after the timeout of 100 ms');
  client.write(Buffer.from('more'));
  t.strictSame(sent(client, 91), ['data 2 "more"']);
  client.receive(acknowledge(1), 92);
  client.receive(output(3, 'z'), 93);
  t.strictSame(sent(client, 130), ['ack 3'], 'later output proves nothing');
});

t.test('after a reconnect the same bytes go again, and no handshake', async (t) => {
  const client = opened();
  client.write(Buffer.from('a'));
  const [first] = all(client, 30);
  client.receive(output(2, 'x'), 35);
  client.write(Buffer.from('b'));
  t.equal(client.reconnected(), undefined);
  const [ack, again, next] = all(client, 5000);
  t.equal(inWords(ack!), 'ack 2');
  t.ok(again!.equals(first!));
  t.equal(inWords(next!), 'data 2 "b"');
});

t.test('bytes handed to write() are copied before next() returns', async (t) => {
  const client = opened();
  const bytes = Buffer.from('before');
  client.write(bytes);
  client.write(bytes.subarray(0, 3));
  const [message] = all(client, 30);
  bytes.fill('!');
  t.equal(inWords(message!), 'data 1 "beforebef"');
});

t.test('no bytes whatever make receive throw, and none with a wrong digest are taken', async (t) => {
  const good = output(2, 'text');
  for (let length = 0; length < good.length; length++) received(opened(), good.subarray(0, length));
  for (let at = 0; at < good.length; at++) {
    const client = opened();
    const bytes = Buffer.from(good);
    bytes[at]! ^= 0xff;
    const events = received(client, bytes);
    if (at >= 80 && at < 112) t.strictSame(events, ['dropped'], `digest, byte ${at}`);
    if (at >= 120) t.strictSame(events, ['dropped'], `payload, byte ${at}`);
  }
});
