import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { FrameType } from '../../src/control/frame.ts';
import type { AgentLeg } from '../region/agent/agent.ts';
import { collect, conversation, instanceId, openSessions, setStage, until } from './stage.ts';

/** An agent that never says anything, so that a tunnel stays half open. */
function muteAgent(): AgentLeg {
  return {
    send: () => true,
    onMessage() {},
    onEnd() {},
    onDrain() {},
    pause() {},
    resume() {},
    cancel(reason) {
      this.onEnd({ output: reason });
    },
    close() {},
  };
}

t.test('fd mode: after ready nothing comes until ssh speaks, then every byte both ways', async (t) => {
  const stage = await setStage(t);
  const link = await stage.connect();
  link.send(FrameType.open, stage.request());
  const frames = await conversation(stage, link, FrameType.ready);
  t.strictSame(
    frames.map(({ type }) => type),
    [FrameType.progress, FrameType.resolve, FrameType.ready],
  );
  t.equal(frames[0]?.body.deadlineMs, 14_000);
  const ssh = link.release();
  const text = collect(ssh);
  t.equal(stage.service.status().tunnels[0]?.state, 'ready');
  // The target has spoken: its words wait in the daemon, and stay there for as long as ssh is silent.
  for (let turns = 0; turns < 50; turns++) await new Promise((resolve) => setImmediate(resolve));
  t.equal(text(), '');
  ssh.write('hello');
  await until('banner and echo', () => text() === 'SSH-2.0-target\r\nhello');
  t.match(stage.service.status().tunnels[0], { state: 'open', host: instanceId, port: '22', transport: 'ssm' });
  ssh.write('bye');
  await new Promise((resolve) => ssh.once('end', resolve));
  t.equal(text(), 'SSH-2.0-target\r\nhellogone');
  ssh.end();
  await until('the conversation is over', () => stage.idle() === 1);
  t.equal(openSessions(stage.region), 0);
  t.strictSame(stage.ledger.entries(), []);
  t.strictSame(stage.service.status().tunnels, []);
  t.strictSame(stage.failures, []);
});

t.test('while a person is asked, the deadline waits; then it begins anew', async (t) => {
  const stage = await setStage(t);
  const link = await stage.connect();
  link.send(FrameType.open, stage.request({ flags: { deadline: '1s' } }));
  const [first] = await conversation(stage, link, FrameType.resolve);
  link.send(FrameType.asking);
  t.equal(first?.body.deadlineMs, 1_000);
  t.match(await link.receive(), { type: FrameType.progress, body: { deadlineMs: 122_000 } });
  const waiting = performance.now();
  await until('the deadline would be over', () => performance.now() - waiting > 1_300);
  link.send(FrameType.resolved, stage.resolved);
  const frames = await conversation(stage, link, FrameType.ready);
  t.match(frames[0], { type: FrameType.progress, body: { deadlineMs: Number } });
});

t.test('relay mode: go, then every byte both ways, also those in one piece with go', async (t) => {
  const stage = await setStage(t);
  const link = await stage.connect();
  link.send(FrameType.open, stage.request({ handover: 'relay' }));
  await conversation(stage, link, FrameType.ready);
  link.send(FrameType.go);
  link.socket.write('hello');
  const socket = link.release();
  const text = collect(socket);
  await until('banner and echo', () => text() === 'SSH-2.0-target\r\nhello');
  socket.end();
  await until('the conversation is over', () => stage.idle() === 1);
  t.equal(openSessions(stage.region), 0);
});

t.test('settings are asked for once, and the key is pushed once and offered by the socket of the target', async (t) => {
  const stage = await setStage(t);
  for (const expected of [
    [FrameType.progress, FrameType.resolve, FrameType.ready],
    [FrameType.progress, FrameType.ready],
  ]) {
    const link = await stage.connect();
    link.send(FrameType.open, stage.request({ user: 'ec2-user' }));
    const frames = await conversation(stage, link, FrameType.ready);
    t.strictSame(
      frames.map(({ type }) => type),
      expected,
    );
    t.ok(existsSync(join(stage.folder, 'agent', `ec2-user@${instanceId}:22`)), 'made before ready');
    link.socket.destroy();
  }
  await until('both are over', () => !stage.service.busy);
  await until('the push is known', () => stage.service.status().pushes[0]?.state === 'pushed');
  t.match(stage.region.pushes, [{ instanceId, user: 'ec2-user' }]);
  t.equal(stage.region.pushes.length, 1);
});

t.test('a refused push is recorded and does not keep the tunnel from opening', async (t) => {
  const stage = await setStage(t, { denials: [{ action: 'ec2-instance-connect:SendSSHPublicKey' }] });
  const link = await stage.connect();
  link.send(FrameType.open, stage.request({ user: 'ec2-user' }));
  await conversation(stage, link, FrameType.ready);
  await until('it is recorded', () => stage.failures.length === 1);
  t.match(stage.failures, [{ host: instanceId, code: 'access-denied' }]);
  t.match(stage.service.status().pushes, [{ state: 'failed', code: 'access-denied' }]);
  link.socket.destroy();
  await until('it is over', () => stage.idle() === 1);
});

t.test('push = off pushes nothing', async (t) => {
  const stage = await setStage(t);
  const link = await stage.connect();
  link.send(FrameType.open, stage.request({ user: 'ec2-user', flags: { push: 'off' } }));
  await conversation(stage, link, FrameType.ready);
  link.socket.destroy();
  await until('it is over', () => stage.idle() === 1);
  t.equal(stage.region.pushes.length, 0);
});

t.test('a helper that is killed leaves nothing, at whatever step', async (t) => {
  const steps: [string, FrameType, boolean][] = [
    ['after progress', FrameType.progress, false],
    ['when asked for settings', FrameType.resolve, false],
    ['after ready', FrameType.ready, false],
    ['after go', FrameType.ready, true],
  ];
  for (const [name, frame, go] of steps) {
    t.test(name, async (t) => {
      const stage = await setStage(t);
      const link = await stage.connect();
      link.send(FrameType.open, stage.request({ handover: 'relay' }));
      await conversation(stage, link, frame);
      if (go) link.send(FrameType.go);
      link.socket.destroy();
      await until('it is over', () => stage.idle() === 1, 3_000);
      t.equal(openSessions(stage.region), 0);
      t.strictSame(stage.ledger.entries(), []);
      t.strictSame(stage.failures, []);
    });
  }
  t.test('while the channel is being opened', async (t) => {
    const stage = await setStage(t, { startAgent: muteAgent });
    const link = await stage.connect();
    link.send(FrameType.open, stage.request());
    await conversation(stage, link, FrameType.resolve);
    link.send(FrameType.resolved, stage.resolved);
    await until('the session was started', () => stage.ledger.entries().length === 1);
    link.socket.destroy();
    await until('it is over', () => stage.idle() === 1, 3_000);
    t.equal(openSessions(stage.region), 0);
  });
});

t.test('a transport that fails between ready and the first words: no byte to ssh, an end, a record', async (t) => {
  const stage = await setStage(t, { denials: [{ action: 'ssm:ResumeSession' }] });
  const link = await stage.connect();
  link.send(FrameType.open, stage.request());
  await conversation(stage, link, FrameType.ready);
  const ssh = link.release();
  const text = collect(ssh);
  const ended = new Promise((resolve) => ssh.once('end', resolve));
  stage.region.cut({ by: 'reset' });
  await ended;
  t.equal(text(), '', 'no frame in the stream of ssh');
  ssh.destroy();
  await until('it is over', () => stage.idle() === 1);
  t.match(stage.failures, [{ host: instanceId, code: 'access-denied' }]);
  t.equal(openSessions(stage.region), 0);
});

t.test('stop ends tunnels in every state, with their sessions, within 3 s', async (t) => {
  const stage = await setStage(t);
  const [open, ready, asked] = [await stage.connect(), await stage.connect(), await stage.connect()];
  for (const link of [open, ready]) {
    link.send(FrameType.open, stage.request());
    await conversation(stage, link, FrameType.ready);
  }
  asked.send(FrameType.open, stage.request({ host: `${instanceId}.eu-west-1` }));
  await conversation(stage, asked, FrameType.resolve);
  const socket = open.release();
  const text = collect(socket);
  socket.write('hello');
  await until('one is open', () => text().endsWith('hello'));
  t.strictSame(
    stage.service.status().tunnels.map(({ state }) => state),
    ['open', 'ready', 'opening'],
  );
  const since = performance.now();
  stage.service.stop();
  await until('all are over', () => !stage.service.busy, 3_000);
  t.ok(performance.now() - since < 3_000);
  t.equal(openSessions(stage.region), 0);
  t.strictSame(stage.failures, []);
});

t.test('the deadline covers the answer of the caller and the wait for another caller', async (t) => {
  const stage = await setStage(t);
  const [mute, waiting] = [await stage.connect(), await stage.connect()];
  mute.send(FrameType.open, stage.request({ flags: { deadline: '1s' } }));
  await conversation(stage, mute, FrameType.resolve);
  waiting.send(FrameType.open, stage.request({ flags: { deadline: '1s' } }));
  t.equal((await waiting.receive()).type, FrameType.progress);
  for (const link of [mute, waiting]) {
    let frame = await link.receive();
    // It is asked when the first one has failed.
    if (frame.type === FrameType.resolve) frame = await link.receive();
    t.match(frame, { type: FrameType.error, body: { code: 'deadline', exitStatus: 1 } });
  }
  await until('both are over', () => !stage.service.busy);
  t.equal(stage.region.sessions.length, 0);
});

t.test('a caller whose settings can not be found says so to all who wait for the same', async (t) => {
  const stage = await setStage(t);
  const [one, two] = [await stage.connect(), await stage.connect()];
  one.send(FrameType.open, stage.request());
  await conversation(stage, one, FrameType.resolve);
  two.send(FrameType.open, stage.request());
  await two.receive();
  one.send(FrameType.error, { code: 'sso-expired', message: 'log in', hint: 'aws sso login', exitStatus: 1 });
  for (const link of [one, two]) {
    t.match(await link.receive(), { type: FrameType.error, body: { code: 'sso-expired', hint: 'aws sso login' } });
  }
});

t.test('what is asked wrongly is answered with the code of the mistake', async (t) => {
  const stage = await setStage(t);
  const wrong: [Partial<ReturnType<typeof stage.request>>, string][] = [
    [{ host: '-oProxyCommand=x' }, 'bad-host'],
    [{ port: '0' }, 'bad-port'],
    [{ user: '-x' }, 'bad-user'],
    [{ flags: { deadline: 'soon' } }, 'bad-setting'],
    [{ caller: { ...stage.request().caller, env: { KEYHOLE_DEADLINE: 'soon' } } }, 'bad-setting'],
  ];
  for (const [more, code] of wrong) {
    const link = await stage.connect();
    link.send(FrameType.open, stage.request(more));
    t.match(await link.receive(), { type: FrameType.error, body: { code, exitStatus: 2 } }, code);
  }
  await until('all are over', () => !stage.service.busy);
  t.equal(stage.region.requests.length, 0);
});
