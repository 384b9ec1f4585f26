// Each way in which a leg, the client's or the agent's, is cut, and what passes meanwhile and after.
import { once } from 'node:events';
import { Agent } from 'node:https';
import type { Socket } from 'node:net';
import {
  GetConnectionStatusCommand,
  ResumeSessionCommand,
  StartSessionCommand,
  TerminateSessionCommand,
} from '@aws-sdk/client-ssm';
import t from 'tap';
import { WebSocket } from 'ws';
import { ManualClock } from '../../manual-clock.ts';
import {
  connectLeg,
  instanceId,
  openLeg,
  openMessage,
  openSession,
  signUpgrade,
  ssmClient,
  startStand,
  until,
} from '../fixture.ts';
import { Faults } from './faults.ts';

t.test('a leg is cut as told', async (t) => {
  const { region, leg, resume, session } = await openSession(t);
  region.cut({ by: 'reset' }, session.sessionId);
  t.match(await leg.closed, { code: 1006 });
  for (const [code, reason] of [
    [1000, 'Bye'],
    [1001, ''],
    [1006, ''],
    [1011, 'oops'],
  ] as const) {
    const next = await resume();
    region.cut({ by: 'close', code, reason });
    t.match(await next.closed, { code, reason });
  }
  await resume();
  t.ok(session.active);
});

t.test('a half-open leg carries nothing either way, not even pongs, and then all of it', async (t) => {
  const clock = new ManualClock(Date.now());
  const { region, leg, agent } = await openSession(t, { clock, sessions: { idleTimeoutMs: 1e9 } });
  let pongs = 0;
  leg.socket.on('pong', () => {
    pongs += 1;
  });
  region.cut({ by: 'freeze', ms: 6_000 });
  leg.socket.ping();
  leg.socket.send(Buffer.from('up'));
  agent.onMessage(Buffer.from('down'));
  await clock.advance(5_999);
  t.same([leg.texts.length, agent.texts.length, pongs], [1, 1, 0]);
  await clock.advance(1);
  await until(() => agent.texts.includes('up') && leg.texts.includes('down') && pongs === 1);
});

t.test('a reset is one for a client over TLS too', async (t) => {
  const { region } = await startStand(t, { tls: true });
  const requestHandler = { httpsAgent: new Agent({ ca: region.ca! }) };
  const answer = await ssmClient(t, region, { requestHandler }).send(
    new StartSessionCommand({ Target: instanceId, DocumentName: 'AWS-StartSSHSession' }),
  );
  const headers = await signUpgrade(region, answer.StreamUrl!);
  const socket = new WebSocket(answer.StreamUrl!, { ca: region.ca, headers });
  await once(socket, 'open');
  socket.send(JSON.stringify({ ...openMessage, TokenValue: answer.TokenValue }));
  await once(socket, 'message');
  region.cut({ by: 'reset' });
  // ws itself tells of both as 1006.
  const [error] = await once((socket as unknown as { _socket: Socket })._socket, 'error');
  t.equal(error.code, 'ECONNRESET');
});

t.test('the network is away: connections are reset, none can be made, and sessions stay', async (t) => {
  const { region, leg, resume, session, ssm } = await openSession(t);
  region.goAway();
  t.match(await leg.closed, { code: 1006 });
  const status = new GetConnectionStatusCommand({ Target: instanceId });
  await t.rejects(ssm.send(status), { code: 'ECONNREFUSED' });
  await region.comeBack();
  await resume();
  t.ok(session.active);
});

t.test('a node may have faults and a gateway’s patience of its own', async (t) => {
  const other = 'i-0fedcba9876543210';
  const faults = new Faults({ down: { lose: 1 } });
  const stand = await startStand(t, { nodes: [{ instanceId, faults, awayMessages: 0 }, { instanceId: other }] });
  const open = async (Target: string) => {
    const answer = await stand.ssm.send(new StartSessionCommand({ Target, DocumentName: 'AWS-StartSSHSession' }));
    return { answer, leg: await openLeg(stand, answer) };
  };
  const [own, usual] = [await open(instanceId), await open(other)];
  const [ownAgent, usualAgent] = stand.agents;
  for (const agent of stand.agents) agent.onMessage(Buffer.from('down'));
  await until(() => usual.leg.texts.includes('down'));
  t.equal(faults.down.struck, 1);
  Object.assign(faults.down, { lose: 0 });
  stand.region.refuseTokens(1, own.answer.SessionId);
  for (const [{ answer, leg }, agent, kept] of [
    [own, ownAgent!, []],
    [usual, usualAgent!, ['meanwhile']],
  ] as const) {
    leg.socket.terminate();
    await until(() => agent.texts.at(-1) === 'pause_publication');
    agent.onMessage(Buffer.from('meanwhile'));
    const resume = () => stand.ssm.send(new ResumeSessionCommand({ SessionId: answer.SessionId }));
    if (leg === own.leg) {
      const resumed = await resume();
      const refused = await connectLeg(resumed.StreamUrl!, await signUpgrade(stand.region, resumed.StreamUrl!));
      refused.socket.send(JSON.stringify({ ...openMessage, TokenValue: resumed.TokenValue }));
      t.match(await refused.closed, { code: 1008 }, 'only this session’s token is refused');
    }
    const again = await openLeg(stand, await resume());
    agent.onMessage(Buffer.from('after'));
    await until(() => again.texts.includes('after'));
    t.same(again.texts, ['start_publication', ...kept, 'after']);
  }
});

t.test(
  'while the agent’s leg is cut the client is paused, what it sends waits, and what the agent sends is lost',
  async (t) => {
    const clock = new ManualClock(Date.now());
    const { region, leg, agent } = await openSession(t, { clock, gateway: { awayMessages: 2 } });
    region.cutAgent();
    for (const word of ['one', 'two', 'three']) leg.socket.send(Buffer.from(word));
    agent.onMessage(Buffer.from('lost'));
    await until(() => region.sessions[0]!.traffic.up.messages === 3);
    t.same(agent.texts, ['start_publication']);
    await clock.advance(10);
    t.same(agent.texts, ['start_publication', 'one', 'two', 'start_publication'], 'the third found no room');
    agent.onMessage(Buffer.from('down'));
    leg.socket.send(Buffer.from('up'));
    await until(() => leg.texts.includes('down') && agent.texts.includes('up'));
    t.same(leg.texts, ['start_publication', 'pause_publication', 'start_publication', 'down']);
  },
);

t.test('the gateway may drop what the client sends while the agent’s leg is cut', async (t) => {
  const clock = new ManualClock(Date.now());
  const { region, leg, agent, session } = await openSession(t, { clock });
  region.cutAgent({ ms: 500, meanwhile: 'drop' }, session.sessionId);
  leg.socket.send(Buffer.from('lost'));
  await until(() => session.traffic.up.messages === 1);
  await clock.advance(499);
  t.same(agent.calls, ['pause'], 'it has noticed');
  await clock.advance(1);
  t.same(agent.calls, ['pause', 'resume']);
  t.same(agent.texts, ['start_publication', 'start_publication']);
});

t.test('both legs may be away: each is told of the other when it is back', async (t) => {
  const clock = new ManualClock(Date.now());
  const { region, leg, agent, session, resume } = await openSession(t, { clock });
  region.cutAgent({ ms: 500 });
  region.cut({ by: 'close', code: 1011 });
  await leg.closed;
  await until(() => !session.connected);
  await clock.advance(500);
  t.equal(agent.texts.at(-1), 'pause_publication');
  region.cutAgent({ ms: 500 });
  const next = resume();
  await until(() => session.opens.length === 2);
  await clock.advance(500);
  t.same((await next).texts, ['pause_publication', 'start_publication']);
  t.equal(agent.texts.at(-1), 'start_publication');
});

t.test('a session may end while its agent’s leg is cut', async (t) => {
  const clock = new ManualClock(Date.now());
  const { region, ssm, leg, agent, session } = await openSession(t, { clock });
  region.cutAgent({ ms: 60_000 });
  await ssm.send(new TerminateSessionCommand({ SessionId: session.sessionId }));
  await until(() => leg.texts.includes('channel_closed'));
  t.match(agent.calls.at(-1), /^cancel /);
  leg.socket.close();
  await until(() => !session.connected);
  await clock.advance(60_000);
  t.equal(agent.texts.at(-1), 'start_publication', 'the first');
  t.equal(agent.texts.length, 1);
});
