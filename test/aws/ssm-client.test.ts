import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SSMClient } from '@aws-sdk/client-ssm';
import t from 'tap';
import { ssmCall } from '../../src/aws/ssm-call.ts';
import { ssmClient } from '../../src/aws/ssm-client.ts';
import { systemClock } from '../../src/clock.ts';
import { silent } from '../../src/log.ts';

t.test('StartSession is asked once, however long the answer takes; what may be repeated is', async (t) => {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const operation = String(request.headers['x-amz-target']).split('.')[1]!;
    asked.push(operation);
    // Longer than the client waits for other answers.
    setTimeout(() => {
      response.setHeader('content-type', 'application/x-amz-json-1.1');
      response.end(JSON.stringify({ SessionId: 's', TokenValue: 't', StreamUrl: 'wss://x', Status: 'connected' }));
    }, 400);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const region = 'eu-west-1';
  const client = new SSMClient({
    region,
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    credentials: { accessKeyId: 'a', secretAccessKey: 's' },
    maxAttempts: 1,
    requestHandler: { requestTimeout: 100, throwOnRequestTimeout: true },
  });
  t.teardown(() => client.destroy());
  const call = ssmCall({ client, region, profile: undefined, clock: systemClock, log: silent });
  const api = ssmClient({ client, region, call, forgetConnections() {} });
  const session = await api.startSession({ target: 'i-0', documentName: 'd', parameters: {} }, undefined);
  t.equal(session.sessionId, 's');
  t.same(asked, ['StartSession']);
  await t.rejects(api.getConnectionStatus('i-0', undefined), { code: 'endpoint-timeout' });
  t.same(asked, ['StartSession', ...Array(3).fill('GetConnectionStatus')]);
});
