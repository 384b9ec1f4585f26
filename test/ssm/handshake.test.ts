import { readFileSync } from 'node:fs';
import t from 'tap';
import {
  answerHandshake,
  parseHandshakeComplete,
  parseHandshakeRequest,
  understandsTerminateFlag,
} from '../../src/ssm/handshake.ts';
import { parseMessage } from '../../src/ssm/message.ts';

const golden = JSON.parse(readFileSync(new URL('../vectors/golden-messages.json', import.meta.url), 'utf8'));

function payload(name: string): Buffer {
  const { hex } = golden.vectors.find((vector: { name: string }) => vector.name === name);
  return parseMessage(Buffer.from(hex, 'hex')).payload;
}

function request(actions: unknown): ReturnType<typeof parseHandshakeRequest> {
  return parseHandshakeRequest(Buffer.from(JSON.stringify({ AgentVersion: 'x', RequestedClientActions: actions })));
}

t.test('the requests of a real agent are read', async (t) => {
  t.strictSame(parseHandshakeRequest(payload('handshake_request/ssh')), {
    agentVersion: '3.3.1142.0',
    actions: [{ actionType: 'SessionType', parameters: { SessionType: 'Port', Properties: { portNumber: '22' } } }],
  });
  t.equal(parseHandshakeRequest(payload('handshake_request/live')).agentVersion, '3.3.0.0');
});

t.test('a port session is answered byte for byte as the reference does', async (t) => {
  const answer = answerHandshake(parseHandshakeRequest(payload('handshake_request/ssh')), '1.2.804.0');
  t.equal(answer.payload.toString(), payload('handshake_response/session_type').toString());
  t.equal(answer.refused, undefined);
});

t.test('anything that is no plain port session is refused, with one entry for each action', async (t) => {
  const table: [unknown[], number[], RegExp][] = [
    [[{ ActionType: 'SessionType', ActionParameters: { SessionType: 'Standard_Stream' } }], [3], /"Standard_Stream"/],
    [[{ ActionType: 'SessionType', ActionParameters: { SessionType: ['Port'] } }], [3], /""/],
    [[{ ActionType: 'SessionType', ActionParameters: null }], [3], /""/],
    [[{ ActionType: 'SessionType' }], [3], /""/],
    [[{ ActionType: 'Bogus' }], [3], /"Bogus"/],
    [[null], [3], /""/],
    [[7, 'x'], [3, 3], /""/],
    [
      [{ ActionType: 'SessionType', ActionParameters: { SessionType: 'Port' } }, { ActionType: 'KMSEncryption' }],
      [1, 3],
      /"KMSEncryption"/,
    ],
  ];
  for (const [actions, statuses, refused] of table) {
    const answer = answerHandshake(request(actions), '1.2.896.0');
    t.match(answer.refused, refused);
    const { ProcessedClientActions: processed } = JSON.parse(answer.payload.toString());
    t.strictSame(
      processed.map(({ ActionStatus }: { ActionStatus: number }) => ActionStatus),
      statuses,
    );
  }
});

t.test('the shell of a real agent with encryption is refused for both', async (t) => {
  const answer = answerHandshake(parseHandshakeRequest(payload('handshake_request/kms_shell')), '1.2.896.0');
  t.equal(answer.refused, 'the session document makes a "Standard_Stream" session, not a Port session');
});

t.test('a reason has no control characters and is short', async (t) => {
  const ActionType = `\u001b[2J\u009b1m\u202e\n${'x'.repeat(1000)}`;
  const { refused } = answerHandshake(request([{ ActionType }]), '1.2.896.0');
  t.match(refused, /^[\x20-\x7e]{1,160}$/);
});

t.test('no more actions are answered than a handshake could have', async (t) => {
  for (const [count, answered] of [
    [0, 0],
    [15, 15],
    [16, 16],
    [17, 16],
    [10_000, 16],
  ] as const) {
    const { payload } = answerHandshake(request(Array(count).fill({})), '1.2.896.0');
    t.equal(JSON.parse(payload.toString()).ProcessedClientActions.length, answered);
  }
});

t.test('JSON of other shapes is read as far as it goes, or refused as malformed', async (t) => {
  t.strictSame(parseHandshakeRequest(Buffer.from('{}')), { agentVersion: '', actions: [] });
  t.strictSame(parseHandshakeRequest(Buffer.from('{"AgentVersion":{"toString":1},"RequestedClientActions":{}}')), {
    agentVersion: '',
    actions: [],
  });
  const hostile = [{ ActionType: { toString: 1 }, ActionParameters: { SessionType: { valueOf: 1, toString: 1 } } }];
  t.equal(answerHandshake(request(hostile), '1.2.896.0').payload.length > 0, true);
  for (const bad of ['', 'null', '[]', '{"AgentVersion":', '"x"']) {
    t.throws(() => parseHandshakeRequest(Buffer.from(bad)), { code: 'ssm-message' }, bad);
    t.throws(() => parseHandshakeComplete(Buffer.from(bad)), { code: 'ssm-message' }, bad);
  }
});

t.test('HandshakeComplete carries a message for the user', async (t) => {
  t.strictSame(parseHandshakeComplete(payload('handshake_complete')), { customerMessage: '' });
  t.strictSame(parseHandshakeComplete(Buffer.from('{"CustomerMessage":"hello"}')), { customerMessage: 'hello' });
  t.strictSame(parseHandshakeComplete(Buffer.from('{"CustomerMessage":{"toString":1}}')), { customerMessage: '' });
});

t.test(
  'agents above 2.3.722.0 end the session on the flag; a version that is not four numbers counts as old',
  async (t) => {
    for (const version of ['2.3.722.1', '2.3.723.0', '2.10.0.0', '3.0.0.0', '3.3.1142.0', '10.0.0.0']) {
      t.equal(understandsTerminateFlag(version), true, version);
    }
    for (const version of [
      '2.3.722.0',
      '2.3.721.9',
      '2.3.99.99',
      '2.2.9999.0',
      '1.9.9.9',
      '',
      '3.3.1142',
      '3.3.1142.0.1',
      '3.3.x.0',
    ]) {
      t.equal(understandsTerminateFlag(version), false, version);
    }
  },
);
