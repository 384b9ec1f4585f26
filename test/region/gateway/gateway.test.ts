import { ResumeSessionCommand, StartSessionCommand, TerminateSessionCommand } from '@aws-sdk/client-ssm';
import t from 'tap';
import { parseMessage } from '../../../src/ssm/message.ts';
import { ManualClock } from '../../manual-clock.ts';
import {
  connectLeg,
  instanceId,
  openLeg,
  openMessage,
  openSession,
  type SessionAnswer,
  signUpgrade,
  startStand,
  until,
} from '../fixture.ts';

const ssh = new StartSessionCommand({ Target: instanceId, DocumentName: 'AWS-StartSSHSession' });

t.test('messages pass whole and unchanged both ways once both legs are told to start', async (t) => {
  const { leg, agent, session, region } = await openSession(t);
  t.same(leg.texts, ['start_publication']);
  t.same(agent.texts, ['start_publication']);
  for (const size of [1, 125, 126, 1024, 65_535, 65_536, 1 << 20]) {
    const message = Buffer.alloc(size, size % 251);
    leg.socket.send(message);
    await until(() => agent.received.at(-1)!.length === size);
    t.ok(agent.received.at(-1)!.equals(message), `${size} bytes up`);
    agent.onMessage(message);
    await until(() => leg.received.at(-1)!.length === size);
    t.ok(leg.received.at(-1)!.equals(message), `${size} bytes down`);
  }
  t.equal(session.status, 'Connected');
  t.match(session.opens, [{ clientId: openMessage.ClientId, clientVersion: '1.2.896.0', accessKeyId: String }]);
  t.match(region.requests.at(-1), { service: 'ssmmessages', action: 'OpenDataChannel', status: 101, error: undefined });
});

t.test('upgrades that are refused, and how', async (t) => {
  const stand = await startStand(t);
  const { region, ssm } = stand;
  const { StreamUrl: url = '' } = await ssm.send(ssh);
  const old = new Date(Date.now() - 301_000);
  const unknown = url.replace(/alice-\w+/, 'alice-nothing');
  const cases: [string, string, Record<string, string>, string][] = [
    ['unsigned', url, {}, '403 MissingAuthenticationTokenException'],
    ['a wrong secret', url, await signUpgrade(region, url, { secretAccessKey: 'x' }), '403 InvalidSignatureException'],
    ['signed for ssm', url, await signUpgrade(region, url, { service: 'ssm' }), '403 InvalidSignatureException'],
    ['five minutes old', url, await signUpgrade(region, url, { date: old }), '403 InvalidSignatureException'],
    ['signed for another URL', url, await signUpgrade(region, `${url}x`), '403 InvalidSignatureException'],
    ['an unknown session', unknown, await signUpgrade(region, unknown), '400 BadRequestException'],
  ];
  for (const [name, change] of [
    ['a re-encoded +', (from: string) => from.replaceAll('+', '%2B')],
    ['an added parameter', (from: string) => `${from}&x=1`],
    ['another role', (from: string) => from.replace('publish_subscribe', 'subscribe')],
    ['no cell', (from: string) => from.replace(/&cell-number.*/, '')],
  ] as const) {
    cases.push([name, change(url), await signUpgrade(region, change(url)), '400 BadRequestException']);
  }
  for (const [name, streamUrl, headers, expected] of cases) {
    const { code, reason } = await (await connectLeg(streamUrl, headers)).closed;
    t.equal(`${code} ${reason}`, expected, name);
  }
  region.identities.denials.push({ action: 'ssmmessages:OpenDataChannel' });
  const denied = await connectLeg(url, await signUpgrade(region, url));
  t.match(await denied.closed, { code: 403, reason: 'AccessDeniedException' });
  t.equal(region.sessions[0]!.opens.length, 0);
});

t.test('an unsigned upgrade passes where no signature is required, a wrong one never does', async (t) => {
  const { region, ssm } = await startStand(t, { gateway: { requireSignature: false } });
  const { StreamUrl = '', TokenValue } = await ssm.send(ssh);
  const wrong = await connectLeg(StreamUrl, await signUpgrade(region, StreamUrl, { secretAccessKey: 'x' }));
  t.match(await wrong.closed, { code: 403, reason: 'InvalidSignatureException' });
  const leg = await connectLeg(StreamUrl);
  leg.socket.send(JSON.stringify({ ...openMessage, TokenValue }));
  await until(() => leg.texts.includes('start_publication'));
  t.match(region.sessions[0]!.opens, [{ accessKeyId: undefined }]);
});

t.test('first messages that close the leg', async (t) => {
  const clock = new ManualClock(Date.now());
  const stand = await startStand(t, { clock });
  const { StreamUrl = '', TokenValue } = await stand.ssm.send(ssh);
  const good = { ...openMessage, TokenValue };
  const cases: [string, string | Buffer][] = [
    ['BINARY', Buffer.from(JSON.stringify(good))],
    ['no JSON', 'hello'],
    ['a list', '[]'],
    ['another schema', JSON.stringify({ ...good, MessageSchemaVersion: '2.0' })],
    ['no RequestId', JSON.stringify({ ...good, RequestId: undefined })],
    ['a ClientId that is no UUID', JSON.stringify({ ...good, ClientId: 'me' })],
    ['no ClientVersion', JSON.stringify({ ...good, ClientVersion: undefined })],
    ['a ClientVersion before signatures', JSON.stringify({ ...good, ClientVersion: '1.2.763.9' })],
    ['a ClientVersion that is no version', JSON.stringify({ ...good, ClientVersion: 'keyhole' })],
    ['no token', JSON.stringify({ ...good, TokenValue: '' })],
    ['a wrong token', JSON.stringify({ ...good, TokenValue: `${TokenValue}x` })],
  ];
  const headers = await signUpgrade(stand.region, StreamUrl);
  for (const [name, message] of cases) {
    const leg = await connectLeg(StreamUrl, headers);
    leg.socket.send(message);
    t.match(await leg.closed, { code: 1008, reason: /^OpenDataChannel: / }, name);
  }
  const silent = await connectLeg(StreamUrl, headers);
  await clock.advance(10_000);
  t.match(await silent.closed, { code: 1008, reason: 'OpenDataChannel timed out' });
  const leg = await connectLeg(StreamUrl, headers);
  leg.socket.send(JSON.stringify({ ...good, ClientVersion: '1.2.764.0', ClientId: undefined }));
  await until(() => leg.texts.includes('start_publication'));
  t.pass('the token was still good, and ClientId may be missing');
  const again = await connectLeg(StreamUrl, headers);
  again.socket.send(JSON.stringify(good));
  t.match(await again.closed, { code: 1008, reason: /token is not valid/ }, 'a token opens once');
});

t.test('a token is short-lived, and ResumeSession replaces it', async (t) => {
  const clock = new ManualClock(Date.now());
  const stand = await startStand(t, { clock, sessions: { tokenLifetimeMs: 1000 } });
  const first = await stand.ssm.send(ssh);
  const attempt = async (answer: SessionAnswer) => {
    const leg = await connectLeg(answer.StreamUrl!, await signUpgrade(stand.region, answer.StreamUrl!));
    if (leg.socket.readyState === 1) leg.socket.send(JSON.stringify({ ...openMessage, TokenValue: answer.TokenValue }));
    return (await leg.closed).code;
  };
  await clock.advance(1000);
  t.equal(await attempt(first), 1008, 'expired');
  const second = await stand.ssm.send(new ResumeSessionCommand({ SessionId: first.SessionId }));
  t.equal(await attempt({ ...second, StreamUrl: first.StreamUrl }), 400, 'the cell of before');
  t.equal(await attempt({ ...second, TokenValue: first.TokenValue }), 1008, 'the token of before');
  await openLeg(stand, second);
});

t.test('a client that goes away pauses the agent and leaves the session; resumed, it gets what waited', async (t) => {
  const { leg, agent, session, resume } = await openSession(t, { gateway: { awayMessages: 2 } });
  leg.socket.terminate();
  await until(() => agent.texts.at(-1) === 'pause_publication');
  t.match(session, { active: true, status: 'Disconnected' });
  for (const text of ['one', 'two', 'three']) agent.onMessage(Buffer.from(text));
  const next = await resume();
  await until(() => agent.texts.at(-1) === 'start_publication');
  agent.onMessage(Buffer.from('four'));
  await until(() => next.texts.includes('four'));
  t.same(next.texts, ['start_publication', 'one', 'two', 'four'], 'the third found no room');
  t.equal(session.opens.length, 2);
  t.equal(session.status, 'Connected');
});

t.test('a newer leg replaces the older one, whose last words are not heard', async (t) => {
  const { leg, agent, resume, session } = await openSession(t);
  const next = await resume();
  t.match(await leg.closed, { code: 1000 });
  next.socket.send(Buffer.from('new'));
  await until(() => agent.texts.includes('new'));
  t.notOk(agent.texts.includes('pause_publication'));
  t.equal(session.status, 'Connected');
});

for (const headerLength of [112, 116] as const) {
  t.test(`the agent's end reaches the client as channel_closed with ${headerLength} bytes of header`, async (t) => {
    const { leg, agent, session } = await openSession(t, { gateway: { channelClosedHeader: headerLength } });
    agent.onMessage(Buffer.from('last'));
    agent.onEnd({ output: 'why' });
    await until(() => leg.received.length === 3);
    t.same(leg.texts, ['start_publication', 'last', 'channel_closed'], 'behind the data');
    const message = parseMessage(leg.received[2]!);
    t.equal(message.headerLength, headerLength);
    const { sessionId: SessionId } = session;
    t.match(JSON.parse(String(message.payload)), { SessionId, MessageType: 'channel_closed', Output: 'why' });
    t.ok(message.digestMatches());
    t.match(session, { active: false, endCause: 'agent', status: 'Terminated' });
  });
}

t.test('TerminateSession cancels the agent and closes the channel', async (t) => {
  const { leg, agent, session, ssm, answer } = await openSession(t);
  await ssm.send(new TerminateSessionCommand({ SessionId: answer.SessionId }));
  await until(() => leg.texts.at(-1) === 'channel_closed');
  t.match(agent.calls, [/^cancel Session .* was terminated/]);
  leg.socket.close();
  await until(() => agent.calls.at(-1) === 'close');
  t.equal(session.endCause, 'terminated');
});

t.test('input keeps a session from idling out, acknowledgements and pings do not', async (t) => {
  const clock = new ManualClock(Date.now());
  const { leg, agent, session } = await openSession(t, { clock, sessions: { idleTimeoutMs: 60_000 } });
  const send = async (type: string) => {
    const seen = agent.received.length;
    leg.socket.ping();
    leg.socket.send(Buffer.from(`....${type.padEnd(116)}`));
    await until(() => agent.received.length > seen);
  };
  await clock.advance(50_000);
  await send('input_stream_data');
  await clock.advance(50_000);
  t.ok(session.active);
  await send('acknowledge');
  await clock.advance(10_000);
  t.match(session, { active: false, endCause: 'idle' });
  await until(() => leg.texts.at(-1) === 'channel_closed');
});

t.test('an hour after it was opened a leg is closed with 1000 Bye, and the session goes on', async (t) => {
  const clock = new ManualClock(Date.now());
  const { leg, session } = await openSession(t, { clock, sessions: { idleTimeoutMs: 1e9 } });
  await clock.advance(3_600_000 - 1);
  t.equal(leg.socket.readyState, 1);
  await clock.advance(1);
  t.match(await leg.closed, { code: 1000, reason: 'Bye' });
  t.ok(session.active);
});

t.test('when the agent is full the client is not read, until there is room', async (t) => {
  const { leg, agent, ssm } = await openSession(t);
  agent.room = false;
  const chunk = Buffer.alloc(256 * 1024);
  for (let at = 0; at < 64; at += 1) leg.socket.send(chunk);
  await until(() => agent.received.length === 2);
  // A round trip to the server: had it gone on reading, more would have come by then.
  await ssm.send(ssh);
  t.equal(agent.received.length, 2);
  t.ok(leg.socket.bufferedAmount > 0);
  agent.room = true;
  agent.onDrain();
  await until(() => agent.received.length === 65);
});

t.test('when the client does not read the agent is paused, until it does', async (t) => {
  const { leg, agent } = await openSession(t);
  leg.socket.pause();
  const chunk = Buffer.alloc(64 * 1024);
  let sent = 0;
  while (!agent.calls.includes('pause')) {
    agent.onMessage(chunk);
    sent += 1;
    if (sent % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  t.ok(sent < 1024, `${sent} messages of 64 KiB`);
  t.notOk(agent.calls.includes('resume'));
  leg.socket.resume();
  await until(() => agent.calls.at(-1) === 'resume' && leg.received.length === sent + 1);
});

t.test('a message over the size the gateway takes cuts the leg and goes no further', async (t) => {
  const { region, leg, agent, resume } = await openSession(t, { faults: { up: { maxMessageBytes: 1144 } } });
  leg.socket.send(Buffer.alloc(1144));
  await until(() => agent.received.length === 2);
  leg.socket.send(Buffer.alloc(1145));
  t.match(await leg.closed, { code: 1009 });
  region.faults.oversizeCut = 1006;
  const next = await resume();
  next.socket.send(Buffer.alloc(1145));
  t.match(await next.closed, { code: 1006 });
  t.notOk(agent.received.some((message) => message.length === 1145));
});

t.test('a session without an agent that could serve it says so and ends', async (t) => {
  const stand = await startStand(t);
  const DocumentName = 'SSM-SessionManagerRunShell';
  const leg = await openLeg(stand, await stand.ssm.send(new StartSessionCommand({ Target: instanceId, DocumentName })));
  await until(() => leg.texts.at(-1) === 'channel_closed');
  const { Output } = JSON.parse(String(parseMessage(leg.received.at(-1)!).payload));
  t.match(Output, `${DocumentName} are not served`);
  t.same(stand.agents, []);
});
