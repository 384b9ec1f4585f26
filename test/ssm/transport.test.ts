import t from 'tap';
import { KeyholeError } from '../../src/errors.ts';
import { NetworkWatch } from '../../src/network-watch.ts';
import { PayloadType, parseMessage } from '../../src/ssm/message.ts';
import { ManualClock } from './manual-clock.ts';
import { channelClosed, handshakeRequest, inWords, output, streamData } from './peer.ts';
import { awsError, closed, collect, stage, target, until } from './stage.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Lets the transport go on past pauses of a clock that stands still. */
async function moving(clock: ManualClock, stepMs: number, condition: () => boolean): Promise<void> {
  const giveUp = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > giveUp) throw new Error(`it never came to this: ${condition}`);
    clock.advance(stepMs);
    await turn();
  }
}

t.test('bytes go both ways, and stats count them', async (t) => {
  const { agent, open } = await stage(t);
  const transport = await open();
  t.equal(transport.kind, 'ssm');
  t.equal(transport.sessionId, 'alice@example.com-0123456789abcdef0');
  const reader = collect(transport);
  agent.send('SSH-2.0-server\r\n');
  transport.write('SSH-2.0-client\r\n');
  await until(() => reader.text() === 'SSH-2.0-server\r\n' && agent.text === 'SSH-2.0-client\r\n');
  await until(() => transport.stats().roundTripMs !== undefined);
  t.match(transport.stats(), { bytesSent: 16, bytesReceived: 16, resumes: 0 });
});

t.test('the dial: URL as AWS wrote it, a signature, OpenDataChannel', async (t) => {
  const { gateway, signed, open } = await stage(t);
  await open();
  const path =
    '/v1/data-channel/alice@example.com-0123456789abcdef0?role=publish_subscribe&cell-number=AAEAATf2ktZ+bscw/Vmu=';
  t.equal(gateway.last.request.url, path);
  t.strictSame(signed, [`ws://127.0.0.1:${gateway.port}${path}`]);
  t.equal(gateway.last.request.headers.authorization, 'AWS4-HMAC-SHA256 1');
  t.match(gateway.last.openDataChannel, {
    MessageSchemaVersion: '1.0',
    RequestId: /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    TokenValue: 'token-1',
    ClientId: /^[0-9a-f-]{36}$/,
    ClientVersion: '1.2.896.0',
  });
});

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

t.test('a refusal by HTTP is told with its body, and the session ended', async (t) => {
  const { gateway, api, ended, open } = await stage(t);
  gateway.onDial = (dial) => {
    dial.refuse(403, '{"message":"User is not authorized to perform: ssmmessages:OpenDataChannel"}');
    return 'handled';
  };
  await t.rejects(open(), { code: 'gateway-refused', message: /HTTP 403: User is not authorized to perform/ });
  t.strictSame(api.calls, ['start', 'terminate']);
  t.equal(ended.length, 1);
});

t.test('a gateway that is away for a moment is tried again', async (t) => {
  const { gateway, api, open } = await stage(t);
  gateway.onDial = (dial) => {
    if (gateway.dials.length > 1) return 'accept';
    dial.refuse(503, 'busy');
    return 'handled';
  };
  await open();
  t.strictSame(api.calls, ['start', 'resume']);
});

t.test('three sockets closed without a word mean that the token is refused', async (t) => {
  const clock = new ManualClock();
  const { gateway, api, open } = await stage(t, { clock });
  gateway.onOpen = (dial) => dial.webSocket!.close(1008, 'bad token');
  const opening = open();
  let failure: unknown;
  opening.catch((error) => {
    failure = error;
  });
  await moving(clock, 50, () => failure !== undefined);
  t.match(failure, { code: 'token-refused', message: /code 1008.*: bad token/ });
  t.equal(gateway.dials.length, 3);
  t.strictSame(api.calls, ['start', 'resume', 'resume', 'terminate']);
  t.equal(clock.pending, 0);
});

t.test('a presigned session gets no header of ours and is not resumed', async (t) => {
  const { gateway, api, agent, signed, open } = await stage(t);
  api.query = '?role=publish_subscribe&X-Amz-Signature=abc&X-Amz-Date=20260102T030405Z';
  const transport = await open();
  t.equal(gateway.last.request.headers.authorization, undefined);
  t.equal(signed.length, 0);
  const reader = collect(transport);
  agent.send('x');
  await until(() => reader.text() === 'x');
  const errors: unknown[] = [];
  transport.on('error', (error) => errors.push(error));
  gateway.last.webSocket!.close(1000, 'Bye');
  await closed(transport);
  t.match(errors, [{ code: 'not-resumable' }]);
  t.strictSame(api.calls, ['start', 'terminate']);
});

t.test('a presigned session whose first dial fails is dialled again, but not resumed', async (t) => {
  const { gateway, api, open } = await stage(t);
  api.query = '?X-Amz-Signature=abc';
  gateway.onDial = (dial) => {
    if (gateway.dials.length > 1) return 'accept';
    dial.refuse(503, 'busy');
    return 'handled';
  };
  await open();
  t.strictSame(api.calls, ['start']);
  t.equal(gateway.last.openDataChannel.TokenValue, 'token-1');
});

t.test('a StreamUrl that leads elsewhere is not dialled, and the session ended', async (t) => {
  const { api, gateway, open } = await stage(t);
  api.origin = 'wss://example.com';
  await t.rejects(open(), { code: 'stream-url-refused' });
  t.strictSame(api.calls, ['start', 'terminate']);
  t.equal(gateway.dials.length, 0);
});

t.test('a session that asks for the impossible is answered, refused and ended', async (t) => {
  const { gateway, api, open } = await stage(t);
  const request = { AgentVersion: '3.3.1142.0', RequestedClientActions: [{ ActionType: 'KMSEncryption' }] };
  gateway.onOpen = (dial) => dial.send(streamData(0, PayloadType.handshakeRequest, JSON.stringify(request)));
  await t.rejects(open(), { code: 'unsupported-session' });
  await until(() => gateway.last.binary.map(inWords).includes('answer 0'));
  t.equal(api.count('terminate'), 1);
});

t.test('giving up leaves no session', async (t) => {
  t.test('before StartSession answers', async (t) => {
    const { api, gateway, open } = await stage(t);
    const abort = new AbortController();
    api.onStart = async () => abort.abort(new KeyholeError('deadline', 'it took too long'));
    await t.rejects(open(abort.signal), { code: 'deadline' });
    t.strictSame(api.calls, ['start', 'terminate'], 'AWS had started it');
    t.equal(gateway.dials.length, 0);
  });

  t.test('while dialling', async (t) => {
    const { api, gateway, open } = await stage(t);
    gateway.onDial = () => 'handled';
    const abort = new AbortController();
    const opening = open(abort.signal);
    await until(() => gateway.dials.length === 1);
    abort.abort();
    await t.rejects(opening, { code: 'interrupted' });
    t.strictSame(api.calls, ['start', 'terminate']);
    await until(() => gateway.last.isGone);
  });

  t.test('while the agent does not shake hands', async (t) => {
    const { api, gateway, open } = await stage(t);
    gateway.onOpen = (dial) => dial.send(handshakeRequest(0));
    const abort = new AbortController();
    const opening = open(abort.signal);
    await until(() => gateway.last?.binary.length >= 2);
    abort.abort();
    await t.rejects(opening, { code: 'interrupted' });
    t.strictSame(api.calls, ['start', 'terminate']);
    await until(() => gateway.last.isGone);
  });

  t.test('between two tries, with the reason of the last one', async (t) => {
    const clock = new ManualClock();
    const events: string[] = [];
    const { api, gateway, open } = await stage(t, { clock, log: (_level, event) => events.push(event) });
    gateway.onDial = (dial) => {
      dial.refuse(503, 'busy');
      return 'handled';
    };
    const abort = new AbortController();
    const opening = open(abort.signal);
    await until(() => events.includes('connect failed'));
    abort.abort();
    await t.rejects(opening, { code: 'gateway-refused', message: /503/ });
    t.equal(api.count('terminate'), 1);
    t.equal(clock.pending, 0);
  });

  t.test('while credentials are looked for, which nothing can interrupt', async (t) => {
    const { api, gateway, options, open } = await stage(t);
    const { promise, resolve } = Promise.withResolvers<Record<string, string>>();
    let asked = false;
    options.signer = {
      sign: () => {
        asked = true;
        return promise;
      },
    };
    const abort = new AbortController();
    const opening = open(abort.signal);
    await until(() => asked);
    abort.abort();
    await t.rejects(opening, { code: 'interrupted' });
    resolve({});
    for (let i = 0; i < 20; i++) await turn();
    t.equal(gateway.dials.length, 0);
    t.equal(api.count('terminate'), 1);
  });
});

t.test('a TerminateSession that fails or hangs keeps nobody waiting', async (t) => {
  const clock = new ManualClock();
  for (const hangs of [true, false]) {
    const { api, gateway, ended, open } = await stage(t, { clock });
    api.onTerminate = (signal) =>
      new Promise((_resolve, reject) => {
        if (!hangs) reject(new Error('no network'));
        signal!.addEventListener('abort', () => reject(signal!.reason));
      });
    gateway.onDial = () => 'handled';
    const abort = new AbortController();
    let failure: unknown;
    open(abort.signal).catch((error) => {
      failure = error;
    });
    await until(() => gateway.dials.length === 1);
    abort.abort();
    const since = clock.now();
    await moving(clock, 10, () => failure !== undefined);
    t.match(failure, { code: 'interrupted' });
    t.ok(clock.now() - since <= (hangs ? 1000 : 500), `${clock.now() - since} ms`);
    t.strictSame(ended, [], 'the end was not confirmed');
    t.equal(clock.pending, 0);
  }
});

t.test('end() delivers, sends the flag, closes with 1000, and needs no API call', async (t) => {
  const { gateway, api, agent, ended, open } = await stage(t);
  const transport = await open();
  const reader = collect(transport);
  const bytes = Buffer.alloc(500_000, 'x');
  transport.end(bytes);
  await closed(transport);
  t.equal(agent.text.length, bytes.length);
  t.equal(agent.terminated, true);
  t.equal(reader.ended(), true);
  t.equal(gateway.last.isGone, true, 'close comes when the socket is gone');
  t.equal(gateway.last.closeCode, 1000);
  t.strictSame(api.calls, ['start']);
  t.equal(ended.length, 1);
});

t.test('output that comes while end() drains is delivered, later output is not an error', async (t) => {
  const { gateway, agent, open } = await stage(t);
  const transport = await open();
  const reader = collect(transport);
  gateway.last.onMessage = ((answer) => (bytes: Buffer) => {
    if (inWords(bytes).startsWith('flag')) agent.send('last words');
    answer(bytes);
    if (inWords(bytes).startsWith('flag')) gateway.last.send(output(99, 'too late'));
  })(gateway.last.onMessage);
  transport.on('error', (error) => t.fail(String(error)));
  transport.end('x');
  await closed(transport);
  t.equal(reader.text(), 'last words');
});

t.test('messages that arrive while the socket closes disturb nobody', async (t) => {
  const clock = new ManualClock();
  const { gateway, api, open } = await stage(t, { clock });
  const transport = await open();
  transport.on('error', (error) => t.fail(String(error)));
  const { last } = gateway;
  last.onMessage = () => {}; // no acknowledgement any more
  transport.end();
  await moving(clock, 50, () => api.count('terminate') === 1);
  for (let number = 2; number < 50; number++) last.send(output(number, 'late'));
  transport.resume();
  await moving(clock, 10, () => transport.closed);
  t.equal(clock.pending, 0);
});

t.test('end() over a cut: what was taken is delivered on the next socket', async (t) => {
  const { gateway, api, agent, open } = await stage(t);
  const transport = await open();
  collect(transport);
  agent.acknowledges = false;
  transport.write('before ');
  await until(() => gateway.last.binary.length > 3);
  agent.acknowledges = true;
  gateway.last.socket.destroy();
  transport.end('after');
  await closed(transport);
  t.equal(agent.text, 'before after');
  t.strictSame(api.calls, ['start', 'resume']);
});

t.test('end() that can not deliver says so, within its bounds', async (t) => {
  const clock = new ManualClock();
  const { api, agent, open } = await stage(t, { clock });
  const transport = await open();
  collect(transport);
  agent.acknowledges = false;
  const errors: unknown[] = [];
  transport.on('error', (error) => errors.push(error));
  const since = clock.now();
  transport.end('never taken');
  await moving(clock, 10, () => transport.closed);
  t.match(errors, [{ code: 'undelivered' }]);
  t.ok(clock.now() - since < 2_750, `${clock.now() - since} ms`);
  t.equal(api.count('terminate'), 1);
  t.equal(clock.pending, 0);
});

t.test('end() whose flag alone is not acknowledged is a clean end by the API', async (t) => {
  const clock = new ManualClock();
  const { gateway, api, agent, open } = await stage(t, { clock });
  const transport = await open();
  collect(transport);
  transport.on('error', (error) => t.fail(String(error)));
  const answer = gateway.last.onMessage;
  gateway.last.onMessage = (bytes) => {
    if (!inWords(bytes).startsWith('flag')) answer(bytes);
  };
  transport.end('taken');
  await moving(clock, 10, () => transport.closed);
  t.equal(agent.text, 'taken');
  t.equal(api.count('terminate'), 1);
});

t.test('an agent too old for the flag is ended by the API', async (t) => {
  const { gateway, api, agent, open } = await stage(t);
  const attach = agent.attach.bind(agent);
  gateway.onOpen = (dial) => {
    const send = dial.send.bind(dial);
    dial.send = (...messages) =>
      send(
        ...messages.map((bytes) => {
          const message = parseMessage(bytes);
          if (message.payloadType !== PayloadType.handshakeRequest) return bytes;
          const text = message.payload.toString().replace('3.3.1142.0', '2.3.722.0');
          return streamData(0, PayloadType.handshakeRequest, text);
        }),
      );
    attach(dial);
  };
  agent.end = () => {}; // it acknowledges the flag and goes on
  const transport = await open();
  collect(transport);
  transport.end();
  await closed(transport);
  t.equal(agent.terminated, true);
  t.equal(api.count('terminate'), 1);
});

t.test('there is no half-close: when the target ends, so does the way to it', async (t) => {
  const { api, agent, ended, gateway, open } = await stage(t);
  const transport = await open();
  const reader = collect(transport);
  agent.send('bye');
  agent.end();
  await closed(transport);
  t.equal(reader.text(), 'bye');
  t.equal(reader.ended(), true);
  t.equal(transport.writableFinished, true);
  t.strictSame(api.calls, ['start'], 'AWS knows already');
  t.equal(ended.length, 1);
  t.equal(gateway.last.isGone, true);
});

t.test('after the end of the target the socket goes, also while nobody reads the rest', async (t) => {
  const { agent, gateway, open } = await stage(t);
  const transport = await open();
  agent.send('unread');
  agent.end();
  await until(() => gateway.last.isGone);
  t.equal(transport.closed, false);
  const reader = collect(transport);
  await closed(transport);
  t.equal(reader.text(), 'unread');
});

t.test('an end before any output means that nothing answers on the port', async (t) => {
  const { agent, open } = await stage(t);
  const transport = await open();
  const errors: unknown[] = [];
  transport.on('error', (error) => errors.push(error));
  agent.end('Unable to connect to specified port: dial tcp 127.0.0.1:22\r\n\u001b[2J');
  await closed(transport);
  t.match(errors, [{ code: 'port-closed', message: new RegExp(`^${target} ended .*: Unable to connect [ -~]*$`) }]);
});

t.test(
  'an end in the same packet as the handshake is an error of open() or reaches its caller, and crashes nobody',
  async (t) => {
    const { gateway, agent, open } = await stage(t);
    gateway.onOpen = (dial) => {
      agent.attach(dial);
      const answer = dial.onMessage;
      dial.onMessage = (bytes) => {
        dial.socket.cork();
        answer(bytes);
        if (inWords(bytes).startsWith('answer')) dial.send(channelClosed('too soon'));
        dial.socket.uncork();
      };
    };
    const failure = await open().then(
      (transport) => new Promise((resolve) => transport.on('error', resolve)),
      (error) => error,
    );
    t.match(failure, { code: 'port-closed', message: /too soon/ });
  },
);

t.test('an end behind a gap is an error', async (t) => {
  const { gateway, agent, open } = await stage(t);
  const transport = await open();
  collect(transport);
  const errors: unknown[] = [];
  transport.on('error', (error) => errors.push(error));
  agent.send('a');
  gateway.last.send(output(5, 'behind'), channelClosed());
  await closed(transport);
  t.match(errors, [{ code: 'stream-lost' }]);
});

t.test('destroy() asks the agent first, and AWS if it does not answer', async (t) => {
  const clock = new ManualClock();
  for (const answers of [true, false]) {
    const { api, agent, gateway, open } = await stage(t, { clock });
    const transport = await open();
    agent.acknowledges = answers;
    const since = clock.now();
    transport.destroy();
    await moving(clock, 10, () => transport.closed);
    t.equal(agent.terminated, answers);
    t.equal(api.count('terminate'), answers ? 0 : 1);
    t.ok(clock.now() - since <= 2000);
    await until(() => gateway.last.isGone);
    t.equal(clock.pending, 0);
  }
});

t.test('destroy() while cut off, or with nothing to deliver, leaves no session', async (t) => {
  const clock = new ManualClock();
  const { api, gateway, ended, open } = await stage(t, { clock });
  const transport = await open();
  gateway.onDial = () => 'handled';
  gateway.last.socket.destroy();
  await until(() => gateway.dials.length === 2);
  transport.destroy();
  await moving(clock, 10, () => transport.closed);
  t.equal(api.count('terminate'), 1);
  t.equal(ended.length, 1);
  t.equal(clock.pending, 0);
});

t.test('destroy() right after end() leaves no session', async (t) => {
  const { api, agent, open } = await stage(t);
  const transport = await open();
  transport.on('error', () => {});
  transport.end();
  transport.destroy();
  await closed(transport);
  t.ok(agent.terminated || api.count('terminate') === 1);
});

t.test('destroy() does not wait for the draining of end()', async (t) => {
  const clock = new ManualClock();
  const { api, agent, open } = await stage(t, { clock });
  const transport = await open();
  agent.acknowledges = false;
  transport.end('never taken');
  await turn();
  const since = clock.now();
  transport.destroy();
  await moving(clock, 10, () => transport.closed);
  t.ok(clock.now() - since <= 700, `${clock.now() - since} ms`);
  t.equal(api.count('terminate'), 1);
  t.equal(clock.pending, 0);
});

t.test('destroy(error) passes the error on, once', async (t) => {
  const { open } = await stage(t);
  const transport = await open();
  const errors: unknown[] = [];
  transport.on('error', (error) => errors.push(error));
  transport.destroy(new KeyholeError('mine', 'x'));
  transport.destroy(new KeyholeError('other', 'y'));
  await closed(transport);
  t.match(errors, [{ code: 'mine' }]);
});

t.test('a writer waits while the agent acknowledges nothing, and what it has taken is bounded', async (t) => {
  const { agent, gateway, open } = await stage(t);
  const transport = await open();
  agent.acknowledges = false;
  let written = 0;
  const chunk = Buffer.alloc(64 * 1024, 'x');
  while (transport.write(chunk)) {
    written += chunk.length;
    if (written > 64 * 2 ** 20) throw new Error('never asked to wait');
    await turn();
  }
  t.ok(written < 2 ** 21, `${written} bytes taken`);
  let isReleased = false;
  transport.write('', () => {
    isReleased = true;
  });
  agent.acknowledges = true;
  await until(() => isReleased);
  gateway.last.socket.destroy();
  transport.end();
  collect(transport);
  await closed(transport);
  t.equal(agent.text.length, written + chunk.length);
});

t.test('a waiting writer is let go by destroy() and by the end of the target', async (t) => {
  for (const how of ['destroy', 'end'] as const) {
    const { agent, open } = await stage(t);
    const transport = await open();
    transport.on('error', () => {});
    const reader = collect(transport);
    agent.send('x');
    await until(() => reader.text() === 'x');
    agent.acknowledges = false;
    let result: unknown = 'waiting';
    transport.write(Buffer.alloc(2_000_000), (error) => {
      result = error ?? 'done';
    });
    await turn();
    t.equal(result, 'waiting');
    if (how === 'destroy') transport.destroy();
    else agent.end();
    await closed(transport);
    if (how === 'destroy') t.match(result, { code: 'closed' });
    else t.equal(result, 'done');
  }
});

t.test('a reader that stops costs bounded memory: the session is left, and taken up when it reads again', async (t) => {
  const { agent, gateway, api, open } = await stage(t);
  const transport = await open();
  const chunk = Buffer.alloc(32_768, 'x');
  let sent = 0;
  while (!gateway.last.isGone) {
    agent.send(chunk);
    sent += chunk.length;
    if (sent > 40 * 2 ** 20) throw new Error('never left');
    await turn();
  }
  t.ok(transport.readableLength > 7 * 2 ** 20 && transport.readableLength < 9 * 2 ** 20, `${transport.readableLength}`);
  t.equal(api.count('resume'), 0);
  for (let i = 0; i < 100; i++) agent.send(chunk);
  sent += 100 * chunk.length;
  const reader = collect(transport);
  await until(() => reader.length() === sent);
  t.equal(api.count('resume'), 1);
  t.equal(transport.stats().resumes, 1);
  t.equal(gateway.dials.length, 2);
  await until(() => agent.unacknowledged === 0);
});

t.test('small messages count with what they cost', async (t) => {
  const { agent, gateway, open } = await stage(t);
  const transport = await open();
  let messages = 0;
  while (!gateway.last.isGone) {
    for (let i = 0; i < 500; i++) agent.send('x');
    messages += 500;
    if (messages > 300_000) throw new Error('never left');
    await turn();
  }
  t.ok(transport.readableLength < 220_000, `${transport.readableLength} messages`);
  transport.destroy();
});

t.test('end() of a writer whose reader has stopped still delivers', async (t) => {
  const { agent, gateway, open } = await stage(t);
  const transport = await open();
  transport.on('error', () => {});
  while (!gateway.last.isGone) {
    agent.send(Buffer.alloc(65_536));
    await turn();
  }
  transport.end('last');
  await until(() => agent.text === 'last');
  transport.destroy();
  await closed(transport);
});

t.test('large payloads: tried, then used', async (t) => {
  const { agent, refusals, open } = await stage(t, { maxPayloadBytes: 32_768, maxMessagesPerSecond: 900 });
  const transport = await open();
  collect(transport);
  const bytes = Buffer.from(Array.from({ length: 1_000_000 }, (_, i) => (i * 7) % 253));
  for (let at = 0; at < bytes.length; at += 50_000) {
    if (!transport.write(bytes.subarray(at, at + 50_000)))
      await new Promise((resolve) => transport.once('drain', resolve));
  }
  transport.end();
  await closed(transport);
  t.ok(Buffer.concat(agent.written).equals(bytes));
  t.equal(Math.max(...agent.payloadLengths), 32_768);
  t.strictSame(refusals, []);
});

for (const how of ['1009', 'reset'] as const) {
  t.test(`large payloads: refused by ${how}, remembered for the region, and no byte lost or doubled`, async (t) => {
    const { agent, gateway, refusals, open } = await stage(t, { maxPayloadBytes: 32_768 });
    gateway.onOpen = (dial) => {
      agent.attach(dial);
      const answer = dial.onMessage;
      dial.onMessage = (message) => {
        if (dial.isGone || dial.webSocket!.readyState !== 1) return;
        if (message.length < 2000) answer(message);
        else if (how === '1009') dial.webSocket!.close(1009, 'too big');
        else dial.socket.resetAndDestroy();
      };
    };
    const transport = await open();
    collect(transport);
    const bytes = Buffer.from(Array.from({ length: 400_000 }, (_, i) => (i * 7) % 253));
    transport.end(bytes);
    // Longer than end() may take, where it has to resume twice: so wait for what was delivered.
    transport.on('error', () => {});
    await closed(transport);
    t.ok(Buffer.concat(agent.written).equals(bytes), `${agent.text.length} bytes`);
    t.equal(Math.max(...agent.payloadLengths), 1024);
    t.strictSame(refusals, ['us-east-1']);
    t.equal(transport.stats().resumes, how === '1009' ? 1 : 2);
  });
}

t.test('large payloads: not tried where they were refused before', async (t) => {
  const { agent, open } = await stage(t, {
    maxPayloadBytes: 32_768,
    payloadMemory: { refusesLargePayloads: (region) => region === 'us-east-1', rememberRefusal: () => {} },
  });
  const transport = await open();
  collect(transport);
  transport.end(Buffer.alloc(300_000));
  await closed(transport);
  t.equal(Math.max(...agent.payloadLengths), 1024);
});

t.test('no listener is left on the caller\u2019s signal or the transport', async (t) => {
  const { open } = await stage(t);
  const abort = new AbortController();
  let listeners = 0;
  const { addEventListener, removeEventListener } = abort.signal;
  abort.signal.addEventListener = (...args: Parameters<typeof addEventListener>) => {
    listeners++;
    addEventListener.apply(abort.signal, args);
  };
  abort.signal.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
    listeners--;
    removeEventListener.apply(abort.signal, args);
  };
  const transport = await open(abort.signal);
  t.equal(listeners, 0);
  t.equal(transport.listenerCount('error'), 0);
  t.equal(transport.listenerCount('close'), 0);
  abort.abort();
  await turn();
  t.equal(transport.destroyed, false, 'the signal gives up the opening and nothing else');
});

t.test('a session through many cuts leaves no listener on what lives as long as it', async (t) => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on('warning', onWarning);
  t.teardown(() => process.off('warning', onWarning));
  const clock = new ManualClock();
  const { gateway, open } = await stage(t, { clock });
  const transport = await open();
  for (let i = 0; i < 15; i++) {
    const { length } = gateway.dials;
    clock.advance(20_000);
    gateway.last.socket.destroy();
    await until(() => gateway.dials.length > length && gateway.last.received.length > 0);
  }
  await turn();
  t.strictSame(warnings, []);
  t.equal(transport.stats().resumes, 15);
});
