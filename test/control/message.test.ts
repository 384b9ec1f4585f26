import fc from 'fast-check';
import t from 'tap';
import {
  type ConnectionEvent,
  type ForwardRequest,
  type OpenRequest,
  parseConnectionEvent,
  parseError,
  parseForwardingReply,
  parseForwardRequest,
  parseHello,
  parseNames,
  parseOpenRequest,
  parseProgress,
  parseRetireRequest,
} from '../../src/control/message.ts';
import { ProtocolError, reportOf, UsageError } from '../../src/errors.ts';

const request: OpenRequest = {
  host: 'i-0123456789abcdef0',
  port: '22',
  user: 'ec2-user',
  handover: 'fd',
  flags: { deadline: '5s' },
  caller: { env: { HOME: '/home/u' }, cwd: '/', pid: 7, parentPid: 6 },
  upstreamAgent: '/tmp/agent',
  socketInode: 12345,
};

t.test('a request is read as it was written, with and without what may be missing', async (t) => {
  t.strictSame(parseOpenRequest(JSON.parse(JSON.stringify(request))), request);
  const { user: _user, upstreamAgent: _agent, socketInode: _inode, ...least } = request;
  t.strictSame(parseOpenRequest(JSON.parse(JSON.stringify(least))), least);
});

t.test('a request with a member of the wrong kind is refused, whichever it is', async (t) => {
  const wrong: Record<string, unknown>[] = [
    { host: 1 },
    { host: 'x'.repeat(1025) },
    { port: 22 },
    { user: null },
    { handover: 'both' },
    { handover: undefined },
    { flags: [] },
    { flags: { deadline: 5 } },
    { caller: undefined },
    { caller: { ...request.caller, env: { HOME: null } } },
    { caller: { ...request.caller, cwd: 1 } },
    { caller: { ...request.caller, pid: -1 } },
    { caller: { ...request.caller, parentPid: 1.5 } },
    { upstreamAgent: {} },
    { socketInode: '1' },
  ];
  for (const members of wrong) {
    t.throws(() => parseOpenRequest({ ...request, ...members }), { code: 'control-message' }, JSON.stringify(members));
  }
});

t.test('a wish for a local tunnel and what is told of it are read as they were written', async (t) => {
  const wish: ForwardRequest = {
    name: 'db',
    host: 'web-1.ec2',
    forwardings: ['5432:db.internal:5432'],
    expose: false,
    detached: true,
    flags: {},
    caller: request.caller,
  };
  t.strictSame(parseForwardRequest(JSON.parse(JSON.stringify(wish))), wish);
  t.strictSame(parseForwardingReply({ locals: ['127.0.0.1:5432'] }), { locals: ['127.0.0.1:5432'] });
  t.strictSame(parseNames({ names: [] }), []);
  const opened: ConnectionEvent = { type: 'opened', local: '127.0.0.1:5432', id: 1, from: '127.0.0.1:999' };
  t.strictSame(parseConnectionEvent(JSON.parse(JSON.stringify(opened))), opened);
  const failure = { code: 'port-refused', message: 'no', hint: 'why?' };
  const closed = { ...opened, type: 'closed', bytesSent: 1, bytesReceived: 2, durationMs: 3, failure };
  t.strictSame(parseConnectionEvent(JSON.parse(JSON.stringify(closed))), closed);

  for (const members of [
    { forwardings: '80' },
    { forwardings: [80] },
    { forwardings: Array(300).fill('80') },
    { name: 5 },
  ]) {
    t.throws(() => parseForwardRequest({ ...wish, ...members }), { code: 'control-message' }, JSON.stringify(members));
  }
  for (const members of [{ id: '1' }, { type: 'closed' }, { local: undefined }]) {
    t.throws(
      () => parseConnectionEvent({ ...opened, ...members }),
      { code: 'control-message' },
      JSON.stringify(members),
    );
  }
});

t.test('hello, progress and retire are checked', async (t) => {
  t.strictSame(parseHello({ protocol: 1, version: '1.2.3', pid: 4, more: true }), {
    protocol: 1,
    version: '1.2.3',
    pid: 4,
  });
  t.throws(() => parseHello({ protocol: '1', version: '1.2.3', pid: 4 }), { code: 'control-message' });
  t.strictSame(parseProgress({ text: 'opening' }), { text: 'opening', shown: false });
  t.strictSame(parseProgress({ text: 'opening', deadlineMs: 14_000, shown: true }), {
    text: 'opening',
    shown: true,
    deadlineMs: 14_000,
  });
  t.throws(() => parseProgress({ text: 'opening', deadlineMs: -1 }), { code: 'control-message' });
  t.strictSame(parseRetireRequest({ how: 'stop', reason: 'x' }), { how: 'stop', reason: 'x' });
  t.throws(() => parseRetireRequest({ how: 'kill', reason: 'x' }), { code: 'control-message' });
});

t.test('an error arrives with code, words and exit status; too many words are cut', async (t) => {
  const sent = new UsageError('bad-host', 'x is not a host', { hint: 'a host is …' });
  const { code, message, hint, exitStatus } = parseError({ ...reportOf(sent) });
  t.strictSame(
    { code, message, hint, exitStatus },
    { code: 'bad-host', message: 'x is not a host', hint: 'a host is …', exitStatus: 2 },
  );
  const long = parseError({ code: 'x', message: 'a'.repeat(1e5), hint: 'b'.repeat(1e5), exitStatus: 7 });
  t.equal(long.message.length, 4096);
  t.equal(long.hint?.length, 4096);
  t.equal(long.exitStatus, 1);
  t.throws(() => parseError({ message: 'x' }), { code: 'control-message' });
});

t.test('any object leads to a message or a ProtocolError', async () => {
  const parsers = [parseHello, parseOpenRequest, parseProgress, parseRetireRequest, parseError];
  const value = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom<unknown>('fd', 1, '1.0.0', {}, { env: {}, cwd: '/', pid: 1, parentPid: 1 }),
  );
  const keys = [
    'host',
    'port',
    'user',
    'handover',
    'flags',
    'caller',
    'code',
    'message',
    'hint',
    'protocol',
    'text',
    'how',
  ];
  fc.assert(
    fc.property(fc.constantFrom(...parsers), fc.dictionary(fc.constantFrom(...keys), value), (parse, body) => {
      try {
        parse(body as Record<string, unknown>);
        return true;
      } catch (error) {
        return error instanceof ProtocolError;
      }
    }),
  );
});
