import t from 'tap';
import { startAdmin } from '../admin.ts';
import { endpointId, startEiceStand } from './fixture.ts';

t.test('endpoints, tunnels, their faults and the callers’ address are changed and read from outside', async (t) => {
  const { region, open } = await startEiceStand(t);
  const admin = await startAdmin(region);
  t.teardown(() => admin.stop());
  const post = async (path: string, body: object = {}) =>
    (await fetch(`${admin.url}${path}`, { method: 'POST', body: JSON.stringify(body) })).status;

  t.equal(await post('/source-ip', { address: '192.0.2.1' }), 200);
  const client = await open();
  const tunnels = (await (await fetch(`${admin.url}/tunnels`)).json()) as { tunnelId: string }[];
  t.match(tunnels, [{ remotePort: 22, sourceIp: '192.0.2.1', arn: String }]);
  t.equal(await post('/cut-tunnel', { by: 'close', code: 1001, tunnelId: 'another' }), 400);
  t.equal(await post('/cut-tunnel', { by: 'close' }), 400);
  t.equal(await post('/cut-tunnel', { by: 'close', code: 1001, tunnelId: tunnels[0]!.tunnelId }), 200);
  t.match(await client.closed, { code: 1001 });

  await post('/eice-faults', { up: { delayMs: 5 }, down: { bytesPerSecond: 1000 } });
  t.match(region.eiceFaults, { up: { delayMs: 5 }, down: { bytesPerSecond: 1000, delayMs: 0 } });
  t.equal(await post('/eice-faults', { up: { lose: 1 } }), 400, 'a stream loses nothing');
  await post('/faults/clear');
  t.match(region.eiceFaults, { up: { delayMs: 0 }, down: { bytesPerSecond: Infinity } });

  t.equal(await post('/endpoint', { endpointId, maxConnections: 0 }), 200);
  t.match((await open()).refusal, { status: 429 });
  t.equal(await post('/endpoint', { endpointId, state: 'broken' }), 400);
  t.equal(await post('/endpoint', { endpointId: 'eice-0' }), 400);
});
