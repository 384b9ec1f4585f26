import t, { type Test } from 'tap';
import { TransportError } from '../../src/errors.ts';
import { awaitFirstByte } from '../../src/tunnel/first-byte.ts';
import { ManualClock, turn } from '../manual-clock.ts';
import { FakeTransport } from './fake-transport.ts';

function start(t: Test, timeoutMs = 10_000, transport = new FakeTransport()) {
  const clock = new ManualClock();
  const stop = new AbortController();
  const state = { end: 'waiting' as unknown };
  const ended = awaitFirstByte(transport, { host: 'i-1', port: 22, timeoutMs, clock, signal: stop.signal })
    .then(
      () => {
        state.end = 'spoke';
      },
      (error) => {
        state.end = error.code;
      },
    )
    .then(() => t.equal(clock.pending, 0, 'no timer is left'));
  return { clock, transport, stop, state, ended };
}

t.test('the first byte is seen and left where it is', async (t) => {
  const { transport, state, ended } = start(t);
  await turn();
  t.equal(state.end, 'waiting');
  transport.say('SSH-');
  await ended;
  transport.say('2.0-target');
  let text = '';
  transport.on('data', (chunk) => {
    text += chunk;
  });
  await turn();
  t.equal(text, 'SSH-2.0-target');
  transport.destroy();
});

t.test('what was said before anybody waited counts', async (t) => {
  const transport = new FakeTransport();
  transport.say('SSH-');
  const { state, ended } = start(t, 10_000, transport);
  await ended;
  t.equal(state.end, 'spoke');
});

t.test('a target that stays silent is reported, and its session ended', async (t) => {
  const { clock, transport, state, ended } = start(t);
  await clock.advance(9_999);
  t.equal(state.end, 'waiting');
  await clock.advance(1);
  await ended;
  t.equal(state.end, 'no-answer');
  t.ok(transport.sessionEnded);
  t.ok(transport.closed, 'nothing is left when the failure is told');
});

t.test('a caller that gives up ends the session, at once or later', async (t) => {
  const later = start(t);
  later.stop.abort(new TransportError('deadline', 'too late'));
  await later.ended;
  t.equal(later.state.end, 'deadline');
  t.ok(later.transport.sessionEnded);

  const transport = new FakeTransport();
  const signal = AbortSignal.abort(new TransportError('deadline', 'too late'));
  const options = { host: 'i-1', port: 22, timeoutMs: 1_000, clock: new ManualClock(), signal };
  await t.rejects(awaitFirstByte(transport, options), { code: 'deadline' });
  t.ok(transport.sessionEnded);
});

t.test('a transport that fails is reported, also where it failed before anybody waited', async (t) => {
  const during = start(t);
  during.transport.destroy(new TransportError('cut', 'the network is gone'));
  await during.ended;
  t.equal(during.state.end, 'cut');

  const transport = new FakeTransport();
  transport.on('error', () => {});
  transport.destroy(new TransportError('cut', 'the network is gone'));
  await turn();
  const before = start(t, 10_000, transport);
  await before.ended;
  t.equal(before.state.end, 'cut');
});
