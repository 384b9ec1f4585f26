import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import type { Clock } from '../../src/clock.ts';
import { EiceTransport, type EiceTransportOptions, openEiceTransport } from '../../src/eice/transport.ts';
import { silent } from '../../src/log.ts';
import { NetworkWatch } from '../../src/network-watch.ts';
import type { WebSocketLink } from '../../src/websocket/link.ts';
import { ManualClock, turn } from '../manual-clock.ts';
import { type Dial, GatewayServer } from '../ssm/gateway-server.ts';
import { closed, collect, until } from '../ssm/stage.ts';

const instanceId = 'i-0123456789abcdef0';
const arn = 'arn:aws:ec2:eu-west-1:111122223333:instance-connect-endpoint/eice-0123456789abcdef0';

interface Scene {
  server: GatewayServer;
  clock: ManualClock;
  options: EiceTransportOptions;
  open(signal?: AbortSignal): Promise<EiceTransport>;
  /** How it ended, once it has. */
  end(transport: EiceTransport): Promise<unknown>;
}

async function scene(t: Test, more: Partial<EiceTransportOptions> = {}): Promise<Scene> {
  const server = await GatewayServer.listen();
  const transports: EiceTransport[] = [];
  t.teardown(async () => {
    for (const transport of transports) transport.on('error', () => {}).destroy();
    await server.close();
  });
  const clock = new ManualClock();
  const options: EiceTransportOptions = {
    route: {
      instanceId,
      privateIpAddress: '10.0.1.23',
      endpointId: 'eice-0123456789abcdef0',
      endpointArn: arn,
      authority: `127.0.0.1:${server.port}`,
    },
    port: 22,
    maxTunnelDurationMs: 3_600_000,
    region: 'eu-west-1',
    profile: undefined,
    plain: true,
    credentials: async () => ({ accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'secret', sessionToken: 'TOKEN/+=' }),
    awsTime: () => clock.wallTime(),
    learnAwsTime: () => t.fail('the clock is right'),
    pingIntervalMs: 25_000,
    networkWatch: new NetworkWatch(clock, () => ''),
    clock: clock as Clock,
    log: silent,
    ...more,
  };
  return {
    server,
    clock,
    options,
    async open(signal = new AbortController().signal) {
      const transport = await openEiceTransport(options, signal);
      transports.push(transport);
      await until(() => server.last.webSocket !== undefined);
      return transport;
    },
    async end(transport) {
      let failure: unknown = 'clean';
      transport.on('error', (error) => {
        failure = error;
      });
      await closed(transport);
      return failure;
    },
  };
}

const peer = (server: GatewayServer): NonNullable<Dial['webSocket']> => server.last.webSocket!;

t.test('bytes pass both ways, whatever the frames', async (t) => {
  const { server, clock, open } = await scene(t);
  const transport = await open();
  const reader = collect(transport);
  const up = randomBytes(1_000_000);
  const down = randomBytes(1_000_000);
  transport.write(up);
  for (let at = 0; at < down.length; at += 77_777) peer(server).send(down.subarray(at, at + 77_777));
  await until(() => reader.length() === down.length && Buffer.concat(server.last.binary).length === up.length);
  t.ok(Buffer.concat(server.last.binary).equals(up));
  t.equal(reader.text(), down.toString('latin1'));
  t.match(transport.stats(), { bytesSent: 1_000_000, bytesReceived: 1_000_000, resumes: 0 });
  transport.end();
  await closed(transport);
  t.equal(clock.pending, 0);
});

t.test('frames are BINARY, have 64,000 bytes at most, are alike in size, and never empty', async (t) => {
  const { server, open } = await scene(t);
  const transport = await open();
  for (const length of [0, 1, 63_999, 64_000, 64_001, 128_001]) transport.write(Buffer.alloc(length));
  transport.resume();
  transport.end();
  await closed(transport);
  t.strictSame(
    server.last.received.map((frame) => (typeof frame === 'string' ? frame : frame.length)),
    [1, 63_999, 64_000, 32_001, 32_000, 42_667, 42_667, 42_667],
  );
});

t.test('a clock that a refusal shows to be wrong is set right, and the tunnel asked for once more', async (t) => {
  let offsetMs = 0;
  const { server, clock, open } = await scene(t, {
    awsTime: () => clock.wallTime() + offsetMs,
    learnAwsTime: (time) => {
      offsetMs = time - clock.wallTime();
    },
  });
  const refuseAt = (time: number) => (dial: Dial) => {
    dial.refuse(403, '{"ErrorCode":"AccessDenied"}', `text/plain\r\nDate: ${new Date(time).toUTCString()}`);
    return 'handled' as const;
  };
  const awsTime = clock.wallTime() - 600_000;
  server.onDial = (dial) => {
    server.onDial = () => 'accept';
    return refuseAt(awsTime)(dial);
  };
  const opening = open();
  await until(() => server.dials.length === 1);
  for (let count = 0; count < 20 && server.dials.length < 2; count++) await clock.advance(250);
  await opening;
  t.equal(server.dials.length, 2);
  t.ok(Math.abs(offsetMs + 600_000) < 10_000, `${offsetMs}`);
  const dateOf = (dial: Dial) => /X-Amz-Date=(\w+)/.exec(dial.request.url!)?.[1];
  t.not(dateOf(server.dials[0]!), dateOf(server.dials[1]!));

  server.onDial = refuseAt(clock.wallTime() + offsetMs);
  await t.rejects(open(), { code: 'access-denied' }, 'with the right time it was no matter of the clock');
});

t.test('each dial is signed anew, and the duration is always sent', async (t) => {
  const { server, clock, open } = await scene(t, { maxTunnelDurationMs: 1_800_500 });
  await open();
  const first = server.last.request.url;
  await clock.advance(1_000);
  await open();
  const second = server.last.request.url;
  t.match(first, '&maxTunnelDuration=1800&');
  t.match(first, '&X-Amz-Security-Token=TOKEN%2F%2B%3D&');
  t.match(first, '&X-Amz-Date=20260102T030405Z&');
  t.match(second, '&X-Amz-Date=20260102T030406Z&');
});

t.test('a reader that takes nothing holds the endpoint back, and loses nothing', async (t) => {
  const { server, open } = await scene(t);
  const transport = await open();
  const total = 32 * 2 ** 20;
  for (let sent = 0; sent < total; sent += 2 ** 16) peer(server).send(Buffer.alloc(2 ** 16, 7));
  await until(() => transport.readableLength > 0);
  for (let count = 0; count < 50; count++) await turn();
  t.ok(transport.readableLength <= 512 * 1024, `${transport.readableLength} bytes are kept`);
  t.ok(peer(server).bufferedAmount > total / 2);
  const reader = collect(transport);
  await until(() => reader.length() === total);
});

/** Writes until it is told to wait. */
async function fill(transport: EiceTransport): Promise<number> {
  let bytes = 0;
  for (; bytes < 256 * 2 ** 20; bytes += 32 * 1024) {
    if (!transport.write(Buffer.alloc(32 * 1024))) return bytes;
    await turn();
  }
  throw new Error('it takes everything');
}

t.test('an endpoint that takes nothing holds the writer back', async (t) => {
  const { server, open } = await scene(t);
  const transport = await open();
  server.last.socket.pause();
  await fill(transport);
  for (let count = 0; count < 50; count++) await turn();
  t.equal(transport.writableNeedDrain, true);
  server.last.socket.resume();
  await new Promise((resolve) => transport.once('drain', resolve));
  t.equal(transport.writableNeedDrain, false);
});

t.test('a refusal says what was asked for and what to do', async (t) => {
  const { server, open } = await scene(t);
  const says = (ErrorCode: string, Message: string) => JSON.stringify({ ErrorCode, Message });
  const denied = {
    code: 'access-denied',
    message: `AWS denies ec2-instance-connect:OpenTunnel on ${arn} (remotePort 22, privateIpAddress 10.0.1.23, maxTunnelDuration 3600)`,
    hint: /must allow ec2-instance-connect:OpenTunnel .*:remotePort, :privateIpAddress, :maxTunnelDuration, aws:SourceIp/,
  };
  const table: [number, string, { code: string; message?: string | RegExp; hint?: string | RegExp }][] = [
    [403, says('AccessDenied', 'User: arn:x is not authorized'), { ...denied, hint: /AWS says: User: arn:x is not/ }],
    [403, says('AccessDeniedException', ''), denied],
    [401, '', denied],
    [
      400,
      says('InvalidParameter', 'The specified RemotePort is not valid.'),
      {
        code: 'eice-parameter',
        message: 'eice-0123456789abcdef0 refuses the tunnel: The specified RemotePort is not valid.',
        hint: 'asked for were port 22, address 10.0.1.23 and 1h (max_tunnel_duration)',
      },
    ],
    [429, says('LimitExceeded', 'Too many.'), { code: 'eice-quota', message: /: Too many\.$/, hint: /20 at once/ }],
    [400, says('ServiceQuotaExceededException', ''), { code: 'eice-quota' }],
    [403, says('ExpiredToken', 'x'), { code: 'credentials-expired' }],
    [403, says('InvalidClientTokenId', 'x'), { code: 'credentials-invalid' }],
    [
      403,
      says('SignatureDoesNotMatch', 'The canonical string was host:secret'),
      { code: 'credentials-invalid', message: /^((?!secret).)*$/ },
    ],
    [404, '<html>', { code: 'aws-error', message: /HTTP 404: <html>/ }],
    [400, says('SomethingNew', 'new'), { code: 'aws-error', message: /OpenTunnel for i-.* SomethingNew: new/ }],
  ];
  for (const [status, body, error] of table) {
    server.onDial = (dial) => {
      dial.refuse(status, body);
      return 'handled';
    };
    const before = server.dials.length;
    await t.rejects(open(), error, `${status} ${body}`);
    t.equal(server.dials.length, before + 1, 'once');
  }
});

t.test('what may pass is tried again, each time with a fresh signature', async (t) => {
  const { server, clock, open } = await scene(t);
  let refusals = 2;
  server.onDial = (dial) => {
    if (refusals-- <= 0) return 'accept';
    dial.refuse(503, '{"ErrorCode":"ServiceUnavailable","Message":"later"}');
    return 'handled';
  };
  const opening = open();
  while (server.dials.length < 3) await clock.advance(500);
  await opening;
  t.equal(new Set(server.dials.map(({ request }) => request.url)).size, 3);
});

t.test('an endpoint that cannot be reached is one', async (t) => {
  const { clock, options } = await scene(t);
  const route = { ...options.route, authority: '127.0.0.1:1' };
  const opening = openEiceTransport({ ...options, route }, new AbortController().signal);
  let isDone = false;
  opening.catch(() => {}).finally(() => (isDone = true));
  while (!isDone) await clock.advance(500);
  await t.rejects(opening, { code: 'endpoint-unreachable', message: '127.0.0.1:1 cannot be reached (ECONNREFUSED)' });
});

t.test('giving up while it dials leaves nothing', async (t) => {
  const { server, clock, open } = await scene(t);
  server.onDial = () => 'handled';
  const abort = new AbortController();
  const opening = open(abort.signal);
  opening.catch(() => {});
  await until(() => server.dials.length === 1);
  abort.abort();
  await t.rejects(opening, { code: 'interrupted' });
  await until(() => server.last.isGone);
  t.equal(clock.pending, 0);
  await t.rejects(open(AbortSignal.abort()), { code: 'interrupted' });
  t.equal(server.dials.length, 1);
});

t.test('the target’s close is a clean end, behind all its bytes', async (t) => {
  const { server, clock, open, end } = await scene(t);
  const transport = await open();
  peer(server).send(Buffer.from('last words'));
  peer(server).close(1000);
  await until(() => server.last.closeCode !== undefined || peer(server).readyState >= 2);
  const reader = collect(transport);
  t.equal(await end(transport), 'clean');
  t.equal(reader.text(), 'last words');
  t.ok(reader.ended());
  t.equal(clock.pending, 0);
});

t.test('a writer that was held back when the target closed is let go', async (t) => {
  const { server, open, end } = await scene(t);
  const transport = await open();
  peer(server).send(Buffer.from('x'));
  const reader = collect(transport);
  await until(() => reader.length() === 1);
  server.last.socket.pause();
  await fill(transport);
  peer(server).close(1000);
  server.last.socket.resume();
  t.equal(await end(transport), 'clean');
});

t.test('how a tunnel ends says why, and what to do', async (t) => {
  const table: { name: string; first?: boolean; ageMs?: number; close: (dial: Dial) => void; error: object }[] = [
    {
      name: 'nothing was reached',
      first: false,
      close: (dial) => dial.webSocket!.close(1011, 'Unable to connect to target'),
      error: {
        code: 'eice-target',
        message: 'endpoint eice-0123456789abcdef0 cannot connect to 10.0.1.23 port 22',
        hint: /security groups/,
      },
    },
    {
      name: 'the target closed before it spoke',
      first: false,
      close: (dial) => dial.webSocket!.close(1000),
      error: { code: 'port-closed', message: /i-0123456789abcdef0 ended the connection before it sent anything/ },
    },
    {
      name: 'the time is over, and AWS says so',
      close: (dial) => dial.webSocket!.close(1008, 'Maximum tunnel duration reached'),
      error: { code: 'eice-expired', message: /has reached its 1h/, hint: /max_tunnel_duration.*not be resumed/ },
    },
    {
      name: 'the time is over, and AWS says nothing',
      ageMs: 3_599_000,
      close: (dial) => dial.webSocket!.close(1000),
      error: { code: 'eice-expired' },
    },
    {
      name: 'any other code',
      close: (dial) => dial.webSocket!.close(4999, 'a\u001b[2J reason'),
      error: { code: 'eice-closed', message: /with code 4999: a \[2J reason$/, hint: /can not be resumed/ },
    },
    {
      name: 'the connection is lost',
      close: (dial) => dial.socket.resetAndDestroy(),
      error: { code: 'connection-lost', message: /endpoint eice-.* was lost/, hint: /can not be resumed/ },
    },
    {
      name: 'the connection is lost when the time is over',
      ageMs: 3_600_000,
      close: (dial) => dial.socket.resetAndDestroy(),
      error: { code: 'connection-lost' },
    },
    {
      name: 'text where bytes belong',
      close: (dial) => dial.webSocket!.send('text'),
      error: { code: 'eice-message', side: 'remote' },
    },
  ];
  for (const { name, first = true, ageMs = 0, close, error } of table) {
    const { server, clock, open, end } = await scene(t, { pingIntervalMs: 10_000_000 });
    const transport = await open();
    const reader = collect(transport);
    if (first) {
      peer(server).send(Buffer.from('SSH-2.0-x\r\n'));
      await until(() => reader.length() > 0);
    }
    await clock.advance(ageMs);
    close(server.last);
    t.match(await end(transport), error, name);
    t.equal(clock.pending, 0, `${name}: no timer is left`);
    t.equal(transport.destroyed, true);
  }
});

t.test('on another network a tunnel that gives no sign of life has ended', async (t) => {
  const looking = new ManualClock();
  let address = 'home';
  const { server, clock, open, end } = await scene(t, { networkWatch: new NetworkWatch(looking, () => address) });
  const ended = end(await open());
  server.answersPings = false;
  address = 'office';
  await looking.advance(15_000);
  await until(() => server.last.pings.length === 1);
  await clock.advance(15_000);
  t.match(await ended, { code: 'connection-lost', hint: /can not be resumed; one through SSM can/ });
  t.equal(clock.pending + looking.pending, 0);
});

t.test('an end of the input closes the websocket behind what was taken', async (t) => {
  const { server, clock, open, end } = await scene(t);
  const transport = await open();
  const bytes = randomBytes(300_000);
  transport.end(bytes);
  transport.resume();
  t.equal(await end(transport), 'clean');
  await until(() => server.last.closeCode !== undefined);
  t.equal(server.last.closeCode, 1000);
  t.ok(Buffer.concat(server.last.binary).equals(bytes));
  t.equal(clock.pending, 0);
});

t.test('an end comes within 900 ms also where the endpoint does not answer', async (t) => {
  const { server, clock, open, end } = await scene(t);
  const transport = await open();
  server.last.socket.pause();
  const ending = end(transport);
  transport.resume();
  transport.end('x');
  await turn();
  await clock.advance(899);
  t.equal(transport.closed, false);
  await clock.advance(1);
  t.equal(await ending, 'clean');
  t.equal(clock.pending, 0);
});

t.test('an end before everything has left is an error', async (t) => {
  const { options, end } = await scene(t);
  const link = { isOpen: true, hasRoom: true, start() {}, cork() {}, uncork() {}, send() {}, resume() {} };
  const stuck = { ...link, close: async () => false } as unknown as WebSocketLink;
  const transport = new EiceTransport(options, stuck);
  transport.end('x');
  t.match(await end(transport), { code: 'undelivered', message: /^i-0123456789abcdef0 did not take all/ });
});

t.test('destroying it ends it at once where the endpoint answers, and within 900 ms where it does not', async (t) => {
  const { server, clock, open, end } = await scene(t);
  const first = await open();
  first.destroy();
  t.equal(await end(first), 'clean');
  await until(() => server.last.closeCode !== undefined);
  t.equal(server.last.closeCode, 1000);

  const second = await open();
  server.last.socket.pause();
  const ending = end(second);
  second.destroy();
  await clock.advance(900);
  t.equal(await ending, 'clean');
  t.equal(clock.pending, 0);
});

t.test('pings are answered, ours go every 25 s, and a dead connection is noticed', async (t) => {
  const { server, clock, open, end } = await scene(t);
  const transport = await open();
  transport.resume();
  let pongs = 0;
  peer(server).on('pong', () => {
    pongs += 1;
  });
  peer(server).ping();
  await until(() => pongs === 1);
  await clock.advance(25_000);
  await until(() => server.last.pings.length === 1);
  await until(() => transport.stats().roundTripMs !== undefined);
  server.last.socket.pause();
  const ending = end(transport);
  await clock.advance(40_000);
  t.match(await ending, { code: 'connection-lost' });
});

t.test('it says when its time is over', async (t) => {
  const { clock, open } = await scene(t, { maxTunnelDurationMs: 600_000 });
  const transport = await open();
  t.equal(transport.stats().expiresAt, clock.wallTime() + 600_000);
  t.equal(transport.sessionId, undefined);
  t.equal(transport.kind, 'eice');
});

t.test('nothing that is signed gets into the log', async (t) => {
  const lines: string[] = [];
  const { server, open, end } = await scene(t, { log: (...line) => lines.push(JSON.stringify(line)) });
  const transport = await open();
  server.last.socket.resetAndDestroy();
  await end(transport);
  t.ok(lines.length >= 2);
  t.notMatch(lines.join('\n'), /X-Amz|TOKEN|secret|openTunnel/);
});
