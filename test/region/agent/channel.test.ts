// The agent's channel against what is known of the real one: protocol.md sections 4 to 6 and 16, and the probe
// transcripts `agentBehaviour` and `portPluginBehaviour` of golden-messages.json.
import t from 'tap';
import { Flag, HeaderFlags, type Message, MessageType, PayloadType, parseMessage } from '../../../src/ssm/message.ts';
import { type AgentAction, AgentChannel, type AgentChannelOptions } from './channel.ts';
import { acknowledgeOf, handshakeResponse, publication, streamData } from './scripted-client.ts';

/** An agent, with everything it did. */
class Agent {
  readonly channel: AgentChannel;
  actions: AgentAction[] = [];
  now = 0;

  constructor(options: Partial<AgentChannelOptions> = {}) {
    this.channel = new AgentChannel({ agentVersion: '3.3.1142.0', properties: { portNumber: '22' }, ...options });
    this.did(this.channel.start(0));
  }

  did(actions: AgentAction[]): this {
    this.actions.push(...actions);
    return this;
  }

  receive(message: Buffer): this {
    return this.did(this.channel.receive(message, this.now));
  }

  /** Moves time on, in the steps the agent asks for. */
  pass(ms: number): this {
    const until = this.now + ms;
    for (let at = this.channel.deadline(); at !== undefined && at <= until; at = this.channel.deadline()) {
      this.now = Math.max(at, this.now + 0.001);
      this.did(this.channel.tick(this.now));
    }
    this.now = until;
    return this;
  }

  /** The port takes every write at once. */
  written(): this {
    while (this.channel.blocked) this.did(this.channel.written(this.now));
    return this;
  }

  /** Handshake, all acknowledged, connection open; then forgets what it did. */
  open(): this {
    this.receive(acknowledgeOf(0)).receive(handshakeResponse(0)).receive(acknowledgeOf(1));
    this.did(this.channel.dialled());
    this.actions = [];
    return this;
  }

  get messages(): Message[] {
    return this.actions.flatMap((action) => (action.type === 'message' ? [parseMessage(action.message)] : []));
  }

  /** Numbers it acknowledged. */
  get acknowledged(): number[] {
    return this.messages
      .filter(({ messageType }) => messageType === MessageType.acknowledge)
      .map(({ payload }) => JSON.parse(payload.toString()).AcknowledgedMessageSequenceNumber);
  }

  /** What the port got. */
  get toPort(): string[] {
    return this.actions.flatMap((action) => (action.type === 'write' ? [action.bytes.toString()] : []));
  }

  get types(): string[] {
    return this.actions.map((action) => action.type);
  }

  get end(): Extract<AgentAction, { type: 'ended' }> | undefined {
    return this.actions.find((action) => action.type === 'ended');
  }
}

const output = (sequenceNumber: number, text: string) => streamData(sequenceNumber, PayloadType.output, text);
const flag = (sequenceNumber: number, value: number) =>
  streamData(sequenceNumber, PayloadType.flag, Buffer.from([0, 0, 0, value]));

t.test('handshake', async (t) => {
  t.test('begins with number 0, SYN, and the session type and properties', async (t) => {
    const [request] = new Agent().messages;
    t.match(request, { messageType: MessageType.outputStreamData, sequenceNumber: 0, flags: HeaderFlags.syn });
    t.equal(request?.payloadType, PayloadType.handshakeRequest);
    t.same(JSON.parse(request!.payload.toString()), {
      AgentVersion: '3.3.1142.0',
      RequestedClientActions: [
        { ActionType: 'SessionType', ActionParameters: { SessionType: 'Port', Properties: { portNumber: '22' } } },
      ],
    });
  });

  t.test('the request is resent until it is acknowledged', async (t) => {
    const agent = new Agent().pass(1010);
    t.equal(agent.messages.length, 6, 'every 200 ms');
    t.ok(agent.messages.every(({ sequenceNumber }) => sequenceNumber === 0));
    agent.receive(acknowledgeOf(0));
    agent.actions = [];
    t.equal(agent.pass(5000).messages.length, 0);
  });

  t.test('is completed by the response; then the agent dials', async (t) => {
    const agent = new Agent().receive(handshakeResponse(0));
    t.same(agent.types, ['message', 'message', 'message', 'dial']);
    t.same(agent.acknowledged, [0]);
    t.match(agent.messages[2], { sequenceNumber: 1, flags: HeaderFlags.data });
    t.equal(agent.messages[2]?.payloadType, PayloadType.handshakeComplete);
    t.match(JSON.parse(agent.messages[2]!.payload.toString()), { CustomerMessage: '', HandshakeTimeToComplete: 0 });
  });

  t.test('is completed also by a response that came out of order', async (t) => {
    const agent = new Agent().receive(handshakeResponse(1)).receive(output(0, 'early'));
    t.same(agent.acknowledged, [1, 0]);
    t.ok(agent.types.includes('dial'));
  });

  t.test('data before it is complete is acknowledged, counted and thrown away', async (t) => {
    const agent = new Agent().receive(output(0, 'SSH-2.0-early\r\n'));
    t.same(agent.acknowledged, [0]);
    agent.receive(handshakeResponse(1)).did(agent.channel.dialled());
    agent.receive(output(2, 'late'));
    t.same(agent.toPort, ['late']);
  });

  for (const status of [0, 2, 3]) {
    t.test(`an action with status ${status} fails the session`, async (t) => {
      const agent = new Agent().receive(acknowledgeOf(0)).receive(handshakeResponse(0, status));
      t.match(agent.end, {
        status: 'Failed',
        output: new RegExp(`SessionType failed on client with status ${status}`),
      });
      t.notOk(agent.types.includes('dial'));
    });
  }

  t.test('fails after 15 s without a response', async (t) => {
    const agent = new Agent().receive(acknowledgeOf(0)).pass(14_999);
    t.equal(agent.end, undefined);
    t.match(agent.pass(2).end, { status: 'Failed', output: /Handshake timed out\. Please ensure/ });
  });

  t.test('a response that is no JSON is not acknowledged', async (t) => {
    const agent = new Agent().receive(streamData(0, PayloadType.handshakeResponse, '{'));
    t.same(agent.acknowledged, []);
  });
});

t.test('input', async (t) => {
  t.test('is refused while the agent dials, without an acknowledgement, and taken afterwards', async (t) => {
    const agent = new Agent().receive(handshakeResponse(0)).receive(output(1, 'one'));
    t.same(agent.acknowledged, [0]);
    agent.receive(output(2, 'two')); // Ahead of the one it refused: kept.
    t.same(agent.acknowledged, [0, 2]);
    agent.did(agent.channel.dialled()).receive(output(1, 'one')).written();
    t.same(agent.toPort, ['one', 'two']);
    t.same(agent.acknowledged, [0, 2, 1]);
  });

  t.test('is acknowledged when the port has taken it, not before; meanwhile nothing else is read', async (t) => {
    const agent = new Agent().open().receive(output(1, 'one'));
    t.same([agent.toPort, agent.acknowledged, agent.channel.blocked], [['one'], [], true]);
    t.throws(() => agent.receive(output(2, 'two')));
    agent.written();
    t.same(agent.acknowledged, [1]);
  });

  t.test('that comes early is acknowledged and kept; that comes again is acknowledged again', async (t) => {
    const agent = new Agent().open();
    agent.receive(output(3, 'C')).receive(output(2, 'B')).receive(output(1, 'A')).written();
    t.same(agent.toPort, ['A', 'B', 'C']);
    agent.receive(output(2, 'B')).receive(output(0, 'x'));
    t.same(agent.acknowledged, [3, 2, 1, 2, 0]);
    t.same(agent.toPort, ['A', 'B', 'C']);
  });

  t.test('is kept up to 100,000 messages ahead; more are dropped without an acknowledgement', async (t) => {
    const agent = new Agent().open();
    const message = output(2, 'x');
    for (let number = 2; number < 100_002; number++) {
      message.writeUInt32BE(number, 52);
      agent.channel.receive(message, 0);
    }
    agent.receive(output(100_002, 'too many'));
    t.same(agent.acknowledged, []);
  });

  t.test('has its digest never checked, its length never compared, its padding of either kind', async (t) => {
    const agent = new Agent().open();
    const badDigest = output(1, 'D');
    badDigest[80]! ^= 1;
    const wrongLength = output(2, 'EE');
    wrongLength.writeUInt32BE(77, 116);
    const padded = output(3, 'pad');
    padded.fill(0, 4 + 'input_stream_data'.length, 36);
    for (const message of [badDigest, wrongLength, padded]) agent.receive(message).written();
    t.same(agent.toPort, ['D', 'EE', 'pad']);
  });

  t.test('without payload is a write of nothing', async (t) => {
    const agent = new Agent().open().receive(output(1, '')).receive(output(2, 'F')).written();
    t.same(agent.acknowledged, [1, 2]);
    t.same(agent.toPort, ['F']);
  });

  t.test('that nobody can read changes nothing', async (t) => {
    const agent = new Agent().open();
    const undated = output(1, 'x');
    undated.fill(0, 40, 48);
    const types = ['agent_job', 'output_stream_data', 'channel_open'].map((type) => publication(type));
    for (const message of [Buffer.alloc(0), Buffer.alloc(400), undated, ...types]) agent.receive(message);
    t.same(agent.actions, []);
  });

  t.test('of other types than output and flag is acknowledged and ignored', async (t) => {
    const agent = new Agent().open();
    agent.receive(streamData(1, PayloadType.size, '{"cols":80,"rows":24}')).receive(handshakeResponse(2));
    t.same(agent.acknowledged, [1, 2]);
    t.same(agent.toPort, []);
  });
});

t.test('output', async (t) => {
  t.test('goes out in messages of at most 1,024 bytes, 1 ms apart at least, 1.43 ms on average', async (t) => {
    const agent = new Agent().open();
    t.throws(() => agent.channel.socketData(Buffer.alloc(1025), 0));
    let last = 0;
    let shortest = Infinity;
    for (let i = 0; i < 1000; i++) {
      agent.now = Math.max(agent.now, agent.channel.readAt()!);
      shortest = Math.min(shortest, i === 0 ? Infinity : agent.now - last);
      last = agent.now;
      agent.did(agent.channel.socketData(Buffer.alloc(1024), agent.now));
    }
    t.ok(shortest >= 1, `${shortest} ms`);
    t.ok(last > 1380 && last < 1430, `1,000 messages in ${last} ms`);
  });

  t.test('is resent oldest first, one every 100 ms, and only after its timeout', async (t) => {
    const agent = new Agent().open();
    agent.now = 1000;
    for (const byte of 'abc') agent.did(agent.channel.socketData(Buffer.from(byte), agent.now));
    agent.actions = [];
    agent.pass(150);
    t.equal(agent.messages.length, 0, 'not before the retransmission timeout');
    agent.pass(1000);
    t.ok(agent.messages.length >= 2);
    t.ok(agent.messages.every(({ sequenceNumber }) => sequenceNumber === 2));
    agent.receive(acknowledgeOf(2)).receive(acknowledgeOf(3));
    agent.actions = [];
    agent.pass(300);
    t.same([...new Set(agent.messages.map(({ sequenceNumber }) => sequenceNumber))], [4]);
    agent.receive(acknowledgeOf(4));
    t.equal(agent.channel.deadline(), undefined, 'nothing left to do');
  });

  t.test('is resent byte for byte', async (t) => {
    const agent = new Agent().pass(250);
    const [first, second] = agent.actions as { message: Buffer }[];
    t.ok(first!.message.equals(second!.message));
  });
});

t.test('pause_publication', async (t) => {
  t.test('stops reading and sending; what was read already waits for the resend tick', async (t) => {
    const agent = new Agent().open().receive(publication(MessageType.pausePublication));
    t.equal(agent.channel.readAt(), undefined);
    agent.did(agent.channel.socketData(Buffer.from('read before'), 0));
    t.equal(agent.pass(5000).messages.length, 0);
    agent.receive(publication(MessageType.startPublication)).pass(100);
    t.same(agent.messages[0]?.payload.toString(), 'read before');
  });

  for (const [what, message] of [
    ['start_publication', publication(MessageType.startPublication)],
    ['stream data', output(7, 'x')],
    ['an acknowledgement', acknowledgeOf(1000)],
  ] as const) {
    t.test(`is over with ${what}`, async (t) => {
      const agent = new Agent().open().receive(publication(MessageType.pausePublication)).receive(message);
      t.not(agent.channel.readAt(), undefined);
    });
  }
});

t.test('end', async (t) => {
  t.test('by the flag TerminateSession: acknowledged, TCP closed, Success at once', async (t) => {
    const agent = new Agent().open().receive(flag(1, Flag.terminateSession));
    t.same(agent.types, ['disconnect', 'message', 'ended']);
    t.match(agent.end, { status: 'Success', output: '', unacknowledged: 0 });
  });

  t.test('by the flag DisconnectToPort: TCP closed, Failed', async (t) => {
    const agent = new Agent().open().receive(flag(1, Flag.disconnectToPort));
    t.same(agent.types, ['disconnect', 'message', 'ended']);
    t.match(agent.end, { status: 'Failed' });
  });

  t.test('by EOF of the port waits for acknowledgements, 2 s at most', async (t) => {
    const agent = new Agent().open();
    agent.did(agent.channel.socketData(Buffer.from('last'), 0)).did(agent.channel.socketEof(0));
    t.equal(agent.pass(1999).end, undefined);
    t.ok(agent.messages.length > 3, 'and resends meanwhile');
    t.match(agent.pass(2).end, { status: 'Success', output: '', unacknowledged: 1 });

    const acknowledged = new Agent().open();
    acknowledged.did(acknowledged.channel.socketData(Buffer.from('last'), 0));
    acknowledged.did(acknowledged.channel.socketEof(0)).receive(acknowledgeOf(2));
    t.match(acknowledged.end, { status: 'Success', unacknowledged: 0 });
  });

  t.test('by a reset of the port is Failed', async (t) => {
    const agent = new Agent().open();
    t.match(agent.did(agent.channel.socketError(0)).end, { status: 'Failed', output: '' });
  });

  t.test('input that comes while it ends is not acknowledged', async (t) => {
    const agent = new Agent().open();
    agent.did(agent.channel.socketData(Buffer.from('last'), 0)).did(agent.channel.socketEof(0));
    agent.receive(output(1, 'too late'));
    t.same(agent.acknowledged, []);
  });

  t.test('a write that is blocked when the port goes is not acknowledged', async (t) => {
    const agent = new Agent().open().receive(output(1, 'stuck'));
    agent.did(agent.channel.socketError(0)).did(agent.channel.written(0));
    t.same(agent.acknowledged, []);
    t.notOk(agent.channel.blocked);
  });

  t.test('by a refused port: silence, and a report of the crash after 60 s', async (t) => {
    const agent = new Agent().receive(acknowledgeOf(0)).receive(handshakeResponse(0));
    agent.did(agent.channel.dialFailed(0));
    agent.actions = [];
    agent.receive(output(1, 'x')).pass(59_999);
    t.same(agent.actions, []);
    t.match(agent.pass(2).end, { status: 'Failed', output: /^document process failed unexpectedly: ipc messaging/ });
  });

  t.test('by the service comes at once, with its text', async (t) => {
    const agent = new Agent().open();
    agent.did(agent.channel.cancel('idle', 0));
    t.same(agent.types, ['disconnect', 'ended']);
    t.match(agent.end, { status: 'Success', output: 'idle' });
    t.same(agent.channel.cancel('again', 0), []);
    t.same(agent.receive(output(1, 'x')).types, ['disconnect', 'ended'], 'nothing comes after it');
  });
});
