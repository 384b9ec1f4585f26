// The helper's side of a conversation, with a daemon that the test plays and a clock that it moves.
import t, { type Test } from 'tap';
import { FrameType } from '../../src/control/frame.ts';
import { ControlLink } from '../../src/control/link.ts';
import type { Receiver } from '../../src/helper/hand-over.ts';
import { type ProxyOptions, proxyByDaemon } from '../../src/helper/proxy.ts';
import { within } from '../../src/within.ts';
import { ManualClock, turn } from '../manual-clock.ts';
import { socketPairs } from '../unix-sockets.ts';

const caller = { env: {}, cwd: '/', pid: 1, parentPid: 1 };

async function setUp(t: Test, more: Partial<ProxyOptions> = {}) {
  const clock = new ManualClock();
  const { client, server } = await (await socketPairs(t))();
  const daemon = new ControlLink(server);
  const said: string[] = [];
  let answer = (_: object) => {};
  const receiver: Receiver = {
    handover: 'fd',
    gone: new AbortController().signal,
    take: async () => void said.push('taken'),
    abandon() {},
  };
  const done = proxyByDaemon({
    connect: async () => new ControlLink(client),
    receiver,
    host: 'i-89abcdef',
    request: async () => ({ host: 'i-89abcdef', port: '22', flags: {}, caller }),
    resolveAws: async (wanted, signal, onAsksPerson) => {
      said.push(`resolve ${JSON.stringify(wanted)}`);
      onAsksPerson();
      const answered = Promise.withResolvers<object>();
      answer = answered.resolve;
      return await within(signal, answered.promise);
    },
    personTimeoutMs: 120_000,
    deadlineMs: 14_000,
    clock,
    signal: new AbortController().signal,
    onProgress: (text) => said.push(text),
    onReady: () => said.push('ready'),
    ...more,
  });
  done.catch(() => {});
  t.match(await daemon.receive(), { type: FrameType.open });
  return { clock, daemon, said, done, answer: (body: object) => answer(body) };
}

/** Until the helper has done what it could with what it was sent. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn();
}

t.test('a person who is asked has the time of a person, and the daemon is told', async (t) => {
  const { clock, daemon, said, done, answer } = await setUp(t);
  daemon.send(FrameType.resolve, { profile: 'prod' });
  t.match(await daemon.receive(), { type: FrameType.asking });
  await clock.advance(100_000);
  answer({ a: 1 });
  t.match(await daemon.receive(), { type: FrameType.resolved, body: { a: 1 } });
  daemon.send(FrameType.ready);
  await done;
  t.strictSame(said, ['resolve {"profile":"prod"}', 'ready', 'taken']);
});

t.test('one who does not answer is not waited for for ever', async (t) => {
  const { clock, daemon, done } = await setUp(t);
  daemon.send(FrameType.resolve, {});
  t.match(await daemon.receive(), { type: FrameType.asking });
  const rejected = t.rejects(done, { code: 'deadline' });
  await clock.advance(120_000);
  await rejected;
});

t.test('for what was waited already nobody waits again', async (t) => {
  const { clock, daemon, done } = await setUp(t, { waitedMs: 5_000 });
  const rejected = t.rejects(done, { code: 'deadline', message: /within 14 s$/ });
  await clock.advance(8_999);
  t.notOk(daemon.closed.aborted);
  await clock.advance(1);
  await rejected;
  const other = await setUp(t, { waitedMs: 5_000 });
  other.daemon.send(FrameType.progress, { text: 'x', deadlineMs: 20_000, shown: true });
  await until(() => other.said.length === 1);
  const late = t.rejects(other.done, { code: 'deadline' });
  await other.clock.advance(16_000); // a second of grace
  await late;
});

t.test('what a person should see is shown, and moves the deadline', async (t) => {
  const { clock, daemon, said, done } = await setUp(t);
  daemon.send(FrameType.progress, { text: 'opening', deadlineMs: 14_000 });
  daemon.send(FrameType.progress, { text: 'i-89abcdef is stopped; starting it', deadlineMs: 194_000, shown: true });
  await until(() => said.length === 1);
  await clock.advance(190_000);
  daemon.send(FrameType.ready);
  await done;
  t.strictSame(said, ['i-89abcdef is stopped; starting it', 'ready', 'taken']);
});
