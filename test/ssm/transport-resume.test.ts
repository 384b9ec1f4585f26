// A tunnel over sockets that are lost: resumed, waited for, given up (protocol.md section 7).
import t from 'tap';
import type { KeyholeError } from '../../src/errors.ts';
import { NetworkWatch } from '../../src/network-watch.ts';
import { PayloadType, parseMessage } from '../../src/ssm/message.ts';
import { ManualClock, moving, turn } from './manual-clock.ts';
import { inWords } from './peer.ts';
import { awsError, closed, collect, stage, until } from './stage.ts';

t.test('a lost socket is resumed: new token, new URL, new signature, same ClientId, no byte lost', async (t) => {
  const { gateway, api, agent, signed, open } = await stage(t);
  api.onResume = async (handle) => ({ ...handle, streamUrl: `${handle.streamUrl}&cell=2` });
  const transport = await open();
  const reader = collect(transport);
  agent.acknowledges = false;
  transport.write('before ');
  await until(() => gateway.last.binary.some((bytes) => inWords(bytes) === 'data 1 "before "'));
  agent.acknowledges = true;
  gateway.last.socket.resetAndDestroy();
  transport.write('during ');
  agent.send('output ');
  await until(() => agent.text === 'before during ' && reader.text() === 'output ');
  const [first, second] = gateway.dials;
  t.equal(second!.openDataChannel.TokenValue, 'token-2');
  t.equal(second!.openDataChannel.ClientId, first!.openDataChannel.ClientId);
  t.not(second!.openDataChannel.RequestId, first!.openDataChannel.RequestId);
  t.match(second!.request.url, /&cell=2$/);
  t.equal(second!.request.headers.authorization, 'AWS4-HMAC-SHA256 2');
  t.equal(signed.length, 2);
  t.match(api.calls, ['start', 'resume']);
  t.equal(transport.stats().resumes, 1);
  t.equal(
    second!.binary.filter((bytes) => parseMessage(bytes).payloadType === PayloadType.handshakeResponse).length,
    0,
  );
});

t.test('"1000 Bye" is no end', async (t) => {
  const { gateway, api, agent, open } = await stage(t);
  const transport = await open();
  const reader = collect(transport);
  gateway.last.webSocket!.close(1000, 'Bye');
  await until(() => gateway.dials.length === 2 && gateway.last.received.length > 0);
  agent.send('still here');
  await until(() => reader.text() === 'still here');
  t.equal(api.count('terminate'), 0);
});

t.test('a resume answer without a StreamUrl keeps the old one', async (t) => {
  const { gateway, api, agent, open } = await stage(t);
  api.onResume = async (handle) => ({ ...handle, streamUrl: '' });
  const reader = collect(await open());
  gateway.last.socket.destroy();
  agent.send('x');
  await until(() => reader.text() === 'x');
  t.equal(gateway.dials[1]!.request.url, gateway.dials[0]!.request.url);
});

t.test('a session that AWS has ended is over', async (t) => {
  const tokens = [undefined, ''];
  for (const tokenValue of tokens) {
    const { gateway, api, open } = await stage(t);
    api.onResume = async (handle) => ({ ...handle, tokenValue });
    const transport = await open();
    const errors: unknown[] = [];
    transport.on('error', (error) => errors.push(error));
    gateway.last.socket.destroy();
    await closed(transport);
    t.match(errors, [{ code: 'session-ended' }]);
    t.equal(gateway.dials.length, 1);
  }
});

for (const [code, tries] of [
  ['access-denied', 1],
  ['access-denied-target', 1],
  ['credentials-invalid', 1],
  ['aws-error', 3],
] as const) {
  t.test(`${code} of ResumeSession ends the session, at ${tries === 1 ? 'once' : `the ${tries}rd time`}`, async (t) => {
    const clock = new ManualClock();
    const { gateway, api, open } = await stage(t, { clock });
    const failures = ['throttled', 'aws-unavailable', ...Array(tries).fill(code)];
    api.onResume = async () => {
      const next = failures.shift();
      throw awsError(next, next !== code, next);
    };
    const transport = await open();
    const errors: unknown[] = [];
    transport.on('error', (error) => errors.push(error));
    gateway.last.socket.destroy();
    await moving(clock, 50, () => transport.closed);
    t.match(errors, [{ code }]);
    t.equal(api.count('resume'), 2 + tries);
    t.equal(clock.pending, 0);
  });
}

t.test('a session that AWS does not know any more is over, and the error says why that may be', async (t) => {
  const { gateway, api, open } = await stage(t);
  api.onResume = async () => {
    throw awsError('DoesNotExistException', false, 'session-gone');
  };
  const transport = await open();
  const errors: unknown[] = [];
  transport.on('error', (error) => errors.push(error));
  gateway.last.socket.destroy();
  await closed(transport);
  t.match(errors, [{ code: 'session-ended', hint: /idle too long/ }]);
  t.equal(api.count('resume'), 1);
});

t.test(
  'what a network that is away gives, and an expired login, is waited out; what stands in the way is told',
  async (t) => {
    const clock = new ManualClock();
    const stuck: string[] = [];
    const notes = { started() {}, ended() {}, stuck: ({ code }: KeyholeError) => stuck.push(code) };
    const { gateway, api, agent, open } = await stage(t, { clock, notes });
    const passing = ['endpoint-unresolved', 'endpoint-timeout', 'tls-failed', 'sso-expired', 'sso-expired'];
    const failures = [...passing];
    const told: unknown[] = [];
    const transport = await open();
    api.onResume = async (handle) => {
      told.push(transport.stats().interrupted?.code);
      const next = failures.shift();
      if (next !== undefined) throw awsError(next, false, next);
      return handle;
    };
    const reader = collect(transport);
    const since = clock.wallTime();
    gateway.last.socket.destroy();
    await moving(clock, 50, () => told.length === 6 && transport.stats().interrupted === undefined);
    t.strictSame(told, ['connection-lost', ...passing]);
    t.strictSame(stuck, ['sso-expired'], 'the user is told once what to do');
    agent.send('still here');
    await until(() => reader.text() === 'still here');

    failures.push('sso-expired');
    clock.advance(20_000);
    gateway.last.socket.destroy();
    await until(() => transport.stats().interrupted !== undefined);
    t.match(transport.stats().interrupted, { since: clock.wallTime() });
    t.ok(clock.wallTime() > since);
    await moving(clock, 50, () => transport.stats().interrupted === undefined);
    t.strictSame(stuck, ['sso-expired', 'sso-expired'], 'and again at the next cut');
  },
);

t.test(
  'what waits for the network goes on as soon as the network has changed, or another one got through',
  async (t) => {
    const clock = new ManualClock();
    let addresses = 'home';
    const networkWatch = new NetworkWatch(clock, () => addresses);
    const { gateway, api, open } = await stage(t, { clock, networkWatch });
    const transport = await open();
    let isAway = true;
    api.onResume = async (handle) => {
      if (isAway) throw awsError('endpoint-unreachable', true, 'endpoint-unreachable');
      return handle;
    };
    const isCut = () => transport.stats().interrupted !== undefined;
    const waitLong = async () => {
      isAway = true;
      clock.advance(20_000);
      const before = api.count('resume');
      gateway.last.socket.destroy();
      await moving(clock, 50, () => api.count('resume') >= before + 6); // pauses are of seconds now
      isAway = false;
    };
    await waitLong();
    addresses = 'office';
    clock.advance(1_000);
    for (let i = 0; i < 500 && isCut(); i++) await turn();
    t.equal(isCut(), false, 'it looks every second while it waits');

    await waitLong();
    const other = networkWatch.add({ doubt() {}, hope() {} });
    other.reached();
    for (let i = 0; i < 500 && isCut(); i++) await turn();
    t.equal(isCut(), false);
    other.end();
  },
);

t.test('a try whose packets go nowhere is begun again when the network has changed', async (t) => {
  const clock = new ManualClock();
  let addresses = 'home';
  const networkWatch = new NetworkWatch(clock, () => addresses);
  const { gateway, api, open } = await stage(t, { clock, networkWatch });
  const transport = await open();
  let hangs = true;
  api.onResume = async (handle, signal) => {
    if (!hangs) return handle;
    return await new Promise((_, reject) => signal!.addEventListener('abort', () => reject(signal!.reason)));
  };
  gateway.last.socket.destroy();
  await until(() => api.count('resume') === 1);
  const { forgotten } = api;
  clock.advance(1_000);
  const other = networkWatch.add({ doubt() {}, hope() {} });
  other.reached();
  other.end();
  for (let i = 0; i < 50; i++) await turn();
  t.equal(api.count('resume'), 1, 'that another one got through ends no try: it may be in a line');
  hangs = false;
  addresses = 'office';
  clock.advance(1_000);
  await moving(clock, 50, () => transport.stats().interrupted === undefined);
  t.equal(api.count('resume'), 2);
  t.ok(api.forgotten > forgotten, 'and over another connection');
});

t.test('a try that takes for ever is not the last one', async (t) => {
  const clock = new ManualClock();
  const { gateway, api, open } = await stage(t, { clock });
  const transport = await open();
  api.onResume = async (handle, signal) => {
    if (api.count('resume') > 1) return handle;
    return await new Promise((_, reject) => signal!.addEventListener('abort', () => reject(signal!.reason)));
  };
  gateway.last.socket.destroy();
  await moving(clock, 500, () => transport.stats().resumes === 1);
  t.equal(api.count('resume'), 2);
});

for (const how of ['a machine that slept', 'a process that was stopped', 'another network'] as const) {
  t.test(`${how} asks for a sign of life, and resumes where none comes`, async (t) => {
    const clock = new ManualClock();
    let address = 1;
    const networkWatch = new NetworkWatch(clock, () => String(address));
    const { gateway, agent, open } = await stage(t, { clock, networkWatch });
    const transport = await open();
    const upset = () => {
      if (how === 'a machine that slept') clock.sleep(3_600_000);
      else if (how === 'a process that was stopped') clock.stop(3_600_000);
      else address += 1;
    };
    upset();
    await moving(clock, 500, () => gateway.last.pings.length > 0);
    const since = clock.now();
    await moving(clock, 500, () => clock.now() >= since + 5_000);
    t.equal(gateway.dials.length, 1, 'the pong came: nothing happens');

    gateway.answersPings = false;
    agent.acknowledges = false;
    upset();
    const upsetAt = clock.now();
    if (how !== 'another network') transport.write('a key'); // which notices it at once
    await moving(clock, 500, () => gateway.dials.length === 2);
    t.ok(clock.now() - upsetAt < 20_000, `noticed after ${clock.now() - upsetAt} ms`);
    await until(() => transport.stats().resumes === 1);
  });
}

t.test('a dead path is noticed while something waits for an answer on it', async (t) => {
  const clock = new ManualClock();
  const { gateway, agent, open } = await stage(t, { clock });
  const transport = await open();
  gateway.answersPings = false;
  agent.acknowledges = false;
  transport.write('a key');
  const since = clock.now();
  await moving(clock, 50, () => gateway.dials.length === 2);
  t.ok(clock.now() - since < 20_000, `after ${clock.now() - since} ms`);
});

t.test('resuming is given up after its time, with the last reason', async (t) => {
  const clock = new ManualClock();
  const { gateway, api, open } = await stage(t, { clock, resumeTimeoutMs: 30_000 });
  const transport = await open();
  const errors: unknown[] = [];
  transport.on('error', (error) => errors.push(error));
  gateway.onDial = (dial) => {
    dial.socket.destroy();
    return 'handled';
  };
  const since = clock.now();
  gateway.last.socket.destroy();
  await moving(clock, 50, () => transport.closed);
  t.match(errors, [
    {
      code: 'connection-lost',
      message: /^the session with i-0123456789abcdef0 could not be resumed within 30s: 127.0.0.1:\d+ can't be reached/,
      hint: /port 443/,
    },
  ]);
  t.ok(api.count('resume') >= 7 && api.count('resume') <= 16, `${api.count('resume')} tries`);
  t.ok(clock.now() - since <= 33_000, `${clock.now() - since} ms`);
  t.equal(api.count('terminate'), 1);
  t.equal(clock.pending, 0);
});

t.test('a gateway that takes every socket and drops it at once is not hammered', async (t) => {
  const clock = new ManualClock();
  const { gateway, api, open } = await stage(t, { clock, resumeTimeoutMs: 30_000 });
  const transport = await open();
  const errors: unknown[] = [];
  transport.on('error', (error) => errors.push(error));
  gateway.onOpen = (dial) => dial.webSocket!.close(1011, 'try later');
  const since = clock.now();
  gateway.last.socket.destroy();
  await moving(clock, 50, () => transport.closed);
  t.match(errors, [{ code: 'connection-lost', message: /code 1011: try later/ }]);
  t.ok(api.count('resume') <= 16, `${api.count('resume')} tries in ${clock.now() - since} ms`);
});

t.test('a cut after a good time is tried at once, a cut in the same trouble is not', async (t) => {
  const clock = new ManualClock();
  const { gateway, open } = await stage(t, { clock });
  await open();
  const cut = async (lastedMs: number) => {
    const { length } = gateway.dials;
    clock.advance(lastedMs);
    gateway.last.socket.destroy();
    for (let i = 0; i < 200 && gateway.dials.length === length; i++) await turn();
    const isAtOnce = gateway.dials.length > length;
    await moving(clock, 50, () => gateway.dials.length > length && gateway.last.received.length > 0);
    return isAtOnce;
  };
  t.equal(await cut(0), true);
  t.equal(await cut(0), false);
  t.equal(await cut(20_000), true);
  t.equal(await cut(0), false);
});
