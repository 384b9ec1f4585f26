import t, { type Test } from 'tap';
import type { AwsContext } from '../../src/aws/context.ts';
import type { StartSessionRequest } from '../../src/aws/ssm-api.ts';
import type { Route } from '../../src/eice/endpoint.ts';
import { AwsError } from '../../src/errors.ts';
import { type Settings, settings } from '../../src/settings.ts';
import { TunnelChoice } from '../../src/tunnel/choice.ts';
import { openTunnel, type TunnelOptions } from '../../src/tunnel/open.ts';
import { ManualClock } from '../manual-clock.ts';
import { type Api, closed, collect, stage, target, until } from '../ssm/stage.ts';
import { endpoint, FakeEc2, fakeAws, instance } from './aws.ts';

const defaults = Object.fromEntries(
  Object.entries(settings).map(([name, setting]) => [name, setting.default]),
) as unknown as Settings;

/** Everything that a tunnel may be opened by, and its options. */
async function scene(t: Test, aws: Partial<AwsContext> = {}, more: Partial<TunnelOptions> = {}) {
  const parts = await stage(t);
  const { api, options } = parts;
  const tunnel: TunnelOptions = {
    target,
    port: 22,
    aws: fakeAws({ ssm: api, signer: options.signer, ...aws }),
    settings: defaults,
    choice: new TunnelChoice<Route>(options.clock, options.log),
    payloadMemory: options.payloadMemory,
    networkWatch: options.networkWatch,
    clock: options.clock,
    log: options.log,
    signal: new AbortController().signal,
    ...more,
  };
  return { ...parts, tunnel };
}

const away = new AwsError('target-not-connected', 'away', { service: 'ssm', apiCode: 'TargetNotConnected' });

function refuse(api: Api, error: Error = away): void {
  api.startSession = async () => {
    api.calls.push('start');
    throw error;
  };
}

t.test('a tunnel is an SSM session for the port, made as the settings say', async (t) => {
  const { api, agent, gateway, tunnel } = await scene(t);
  const requests: StartSessionRequest[] = [];
  const { startSession } = api;
  api.startSession = async (request) => {
    requests.push(request as StartSessionRequest);
    return await startSession.call(api, request);
  };
  const transport = await openTunnel({
    ...tunnel,
    port: 2222,
    settings: { ...defaults, clientVersion: '1.2.999.0', sshDocument: 'My-Document' },
  });
  const reader = collect(transport);
  t.strictSame(requests, [{ target, documentName: 'My-Document', parameters: { portNumber: ['2222'] } }]);
  t.equal(gateway.last.openDataChannel.ClientVersion, '1.2.999.0');
  agent.send('hello');
  transport.end('bye');
  await closed(transport);
  t.equal(agent.text, 'bye');
  t.equal(reader.text(), 'hello');
});

t.test('a tunnel that is given up leaves no session', async (t) => {
  const abort = new AbortController();
  const { api, gateway, tunnel } = await scene(t, {}, { signal: abort.signal });
  gateway.onDial = () => 'handled';
  const opening = openTunnel(tunnel);
  await until(() => gateway.dials.length === 1);
  abort.abort();
  await t.rejects(opening, { code: 'interrupted' });
  t.strictSame(api.calls, ['start', 'terminate']);
});

t.test('where SSM refuses, the tunnel goes by the endpoint, and opens with the first byte', async (t) => {
  const { api, gateway, tunnel } = await scene(t);
  refuse(api);
  const authority = `127.0.0.1:${gateway.port}`;
  const ec2 = new FakeEc2(instance(target), [endpoint('eice-1', { dnsName: authority })]);
  let isOpen = false;
  const opening = openTunnel({
    ...tunnel,
    aws: { ...tunnel.aws, ec2 },
    settings: { ...defaults, maxTunnelDurationMs: 600_000 },
  }).then((transport) => {
    isOpen = true;
    return transport;
  });
  await until(() => gateway.dials.length === 1 && gateway.last.webSocket !== undefined);
  const { url, headers } = gateway.last.request;
  t.match(
    url,
    /^\/openTunnel\?instanceConnectEndpointId=eice-1&remotePort=22&privateIpAddress=10\.0\.1\.23&maxTunnelDuration=600&X-Amz-Algorithm=AWS4-HMAC-SHA256&/,
  );
  t.match(url, /&X-Amz-Credential=AKIDEXAMPLE%2F20260102%2Feu-west-1%2Fec2-instance-connect%2Faws4_request&/);
  t.match(headers, { host: authority, 'user-agent': /^keyhole\// });
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(isOpen, false, 'the 101 says nothing of the target');
  gateway.last.send(Buffer.from('SSH-2.0-x\r\n'));
  const transport = await opening;
  t.equal(transport.kind, 'eice');
  t.strictSame(api.calls, ['start'], 'SSM had nothing to end');
  const reader = collect(transport);
  transport.end('bye');
  await closed(transport);
  t.equal(reader.text(), 'SSH-2.0-x\r\n');
  t.strictSame(gateway.last.binary, [Buffer.from('bye')]);
});

t.test('an endpoint that accepts and cannot reach the target is a failure to open, with both reasons', async (t) => {
  const { api, gateway, tunnel } = await scene(t);
  refuse(api);
  const ec2 = new FakeEc2(instance(target), [endpoint('eice-1', { dnsName: `127.0.0.1:${gateway.port}` })]);
  const opening = openTunnel({ ...tunnel, aws: { ...tunnel.aws, ec2 } });
  opening.catch(() => {});
  await until(() => gateway.dials.length === 1 && gateway.last.webSocket !== undefined);
  gateway.last.webSocket!.close(4000, 'Unable to connect to target');
  await t.rejects(opening, {
    code: 'eice-target',
    message: 'endpoint eice-1 cannot connect to 10.0.1.23 port 22; the other way is closed too: away',
  });
});

t.test('an endpoint is dialled unencrypted only where it and EC2 are both on loopback', async (t) => {
  const { gateway, tunnel } = await scene(t);
  const dnsName = `127.0.0.1:${gateway.port}`;
  const ec2 = new FakeEc2(instance(target), [endpoint('eice-1', { dnsName })]);
  for (const url of [undefined, new URL('https://127.0.0.1/'), new URL('http://10.0.0.1/')]) {
    const elsewhere = Object.assign(new FakeEc2(ec2.instance, ec2.endpoints), { endpoint: url });
    const opening = openTunnel({
      ...tunnel,
      aws: { ...tunnel.aws, ec2: elsewhere },
      settings: { ...defaults, transport: 'eice' },
    });
    // The server there speaks no TLS.
    await t.rejects(opening, { code: /^(tls-failed|endpoint-unreachable)$/ }, String(url));
    t.equal(gateway.dials.length, 0);
  }
});

t.test('who stands in the line for StartSession is told after a second that the node is not there', async (t) => {
  const clock = new ManualClock();
  const { api, tunnel } = await scene(t, {}, { clock });
  const statuses: string[] = [];
  api.startSession = (_request: unknown, signal?: AbortSignal) =>
    new Promise((_resolve, reject) => signal!.addEventListener('abort', () => reject(new Error('in line'))));
  api.getConnectionStatus = (async (name: string) => {
    statuses.push(name);
    return 'notconnected';
  }) as unknown as typeof api.getConnectionStatus;
  const ec2 = new FakeEc2(instance(target));
  const opening = openTunnel({ ...tunnel, aws: { ...tunnel.aws, ec2 } });
  opening.catch(() => {});
  await clock.advance(999);
  t.strictSame(statuses, [], 'as a rule StartSession is answered by then');
  await clock.advance(1);
  await t.rejects(opening, {
    code: 'target-not-connected',
    message: /^i-0123456789abcdef0 is not connected to Systems Manager in eu-west-1; the other way .* vpc-1/,
  });
  t.strictSame(statuses, [target]);
  t.equal(clock.pending, 0);
});

t.test('the line is not left for a status that is denied, or where there is no other way', async (t) => {
  const clock = new ManualClock();
  for (const [port, status, asked] of [
    [22, async () => Promise.reject(new Error('denied')), 1],
    [22, async () => 'connected', 1],
    [5432, async () => 'notconnected', 0],
  ] as const) {
    const abort = new AbortController();
    const { api, tunnel } = await scene(t, {}, { clock, port, signal: abort.signal });
    let count = 0;
    let isWaiting = true;
    api.startSession = (_request: unknown, signal?: AbortSignal) =>
      new Promise((_resolve, reject) =>
        signal!.addEventListener('abort', () => {
          isWaiting = false;
          reject(signal!.reason);
        }),
      );
    api.getConnectionStatus = (async () => {
      count += 1;
      return await status();
    }) as unknown as typeof api.getConnectionStatus;
    const opening = openTunnel(tunnel);
    opening.catch(() => {});
    await clock.advance(2_000);
    t.equal(count, asked);
    t.ok(isWaiting);
    abort.abort(away);
    await t.rejects(opening, away);
    t.equal(clock.pending, 0);
  }
});
