import t from 'tap';
import { KeyholeError } from '../../src/errors.ts';
import { PayloadType } from '../../src/ssm/message.ts';
import { ManualClock, moving, turn } from './manual-clock.ts';
import { handshakeRequest, inWords, streamData } from './peer.ts';
import { closed, collect, stage, until } from './stage.ts';

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

  t.test('long before StartSession answers: nobody waits, and the session is ended when it is known', async (t) => {
    for (const isEndConfirmed of [true, false]) {
      const clock = new ManualClock();
      const { api, gateway, open, started, ended } = await stage(t, { clock });
      const answer = Promise.withResolvers<void>();
      api.onStart = () => answer.promise;
      if (!isEndConfirmed) api.onTerminate = async () => Promise.reject(new Error('no network'));
      const abort = new AbortController();
      const failure = open(abort.signal).catch((error: unknown) => error);
      await until(() => api.count('start') === 1);
      abort.abort(new KeyholeError('deadline', 'it took too long'));
      const since = clock.now();
      await moving(clock, 100, () => clock.pending === 0);
      t.match(await failure, { code: 'deadline' });
      t.ok(clock.now() - since < 2_500, 'who gave up is told in time');
      t.strictSame(api.calls, ['start']);
      answer.resolve();
      await until(() => api.count('terminate') === 1);
      await turn();
      t.strictSame(started.length, 1, 'the ledger had it meanwhile');
      t.strictSame(ended, isEndConfirmed ? started : [], 'and has it for as long as its end is not confirmed');
      t.equal(gateway.dials.length, 0);
      t.equal(clock.pending, 0);
    }
  });

  t.test('long before StartSession fails', async (t) => {
    const clock = new ManualClock();
    const { api, open } = await stage(t, { clock });
    const answer = Promise.withResolvers<void>();
    api.onStart = () => answer.promise;
    const abort = new AbortController();
    const failure = open(abort.signal).catch((error: unknown) => error);
    await until(() => api.count('start') === 1);
    abort.abort(new KeyholeError('deadline', 'it took too long'));
    await moving(clock, 100, () => clock.pending === 0);
    t.match(await failure, { code: 'deadline' });
    answer.reject(new Error('AWS is away'));
    await turn();
    t.strictSame(api.calls, ['start']);
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
