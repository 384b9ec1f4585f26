// How a tunnel ends: by end(), by destroy(), by the target (protocol.md 6.1).
import t from 'tap';
import { KeyholeError } from '../../src/errors.ts';
import { PayloadType, parseMessage } from '../../src/ssm/message.ts';
import { ManualClock, moving, turn } from './manual-clock.ts';
import { channelClosed, inWords, output, streamData } from './peer.ts';
import { closed, collect, stage, target, until } from './stage.ts';

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
