import t from 'tap';
import type { StartSessionRequest } from '../../src/aws/ssm-api.ts';
import { type Settings, settings } from '../../src/settings.ts';
import { openTunnel, type TunnelOptions } from '../../src/tunnel/open.ts';
import { closed, collect, stage, target, until } from '../ssm/stage.ts';

const defaults = Object.fromEntries(Object.entries(settings).map(([name, setting]) => [name, setting.default]));

t.test('a tunnel is an SSM session for the port, made as the settings say', async (t) => {
  const { api, agent, gateway, options } = await stage(t);
  const requests: StartSessionRequest[] = [];
  const { startSession } = api;
  api.startSession = async (request) => {
    requests.push(request as StartSessionRequest);
    return await startSession.call(api, request);
  };
  const tunnel: TunnelOptions = {
    target,
    port: 2222,
    aws: { ssm: api, signer: options.signer },
    settings: { ...defaults, clientVersion: '1.2.999.0', sshDocument: 'My-Document' } as Settings,
    payloadMemory: options.payloadMemory,
    clock: options.clock,
    log: options.log,
    signal: new AbortController().signal,
  };
  const transport = await openTunnel(tunnel);
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
  const { api, gateway, options } = await stage(t);
  gateway.onDial = () => 'handled';
  const abort = new AbortController();
  const opening = openTunnel({
    target,
    port: 22,
    aws: { ssm: api, signer: options.signer },
    settings: defaults as Settings,
    payloadMemory: options.payloadMemory,
    clock: options.clock,
    log: options.log,
    signal: abort.signal,
  });
  await until(() => gateway.dials.length === 1);
  abort.abort();
  await t.rejects(opening, { code: 'interrupted' });
  t.strictSame(api.calls, ['start', 'terminate']);
});
