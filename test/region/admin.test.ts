import { GetConnectionStatusCommand, StartSessionCommand } from '@aws-sdk/client-ssm';
import t, { type Test } from 'tap';
import { startAdmin } from './admin.ts';
import { connectLeg, instanceId, openLeg, openMessage, type Stand, signUpgrade, startStand, until } from './fixture.ts';

const ssh = new StartSessionCommand({ Target: instanceId, DocumentName: 'AWS-StartSSHSession' });

interface AdminStand extends Stand {
  get(path: string): Promise<unknown>;
  post(path: string, body?: object): Promise<{ status: number; body: unknown }>;
}

async function open(t: Test): Promise<AdminStand> {
  const stand = await startStand(t);
  const admin = await startAdmin(stand.region);
  t.teardown(() => admin.stop());
  t.match(admin.url, /^http:\/\/127\.0\.0\.1:\d+$/);
  return {
    ...stand,
    get: async (path) => (await fetch(`${admin.url}${path}`)).json(),
    async post(path, body = {}) {
      const response = await fetch(`${admin.url}${path}`, { method: 'POST', body: JSON.stringify(body) });
      return { status: response.status, body: await response.json() };
    },
  };
}

t.test('faults between the legs are set in part, shown, and cleared', async (t) => {
  const { region, post, get } = await open(t);
  t.match(await post('/faults', { up: { lose: 0.01, bytesPerSecond: 500_000 }, down: { delayMs: 20 } }), {
    status: 200,
  });
  t.match(region.faults, { up: { lose: 0.01, double: 0, bytesPerSecond: 500_000 }, down: { delayMs: 20, lose: 0 } });
  await post('/faults', { up: { bytesPerSecond: null } });
  t.match(region.faults.up, { lose: 0.01, bytesPerSecond: Infinity });
  t.match(await get('/faults'), { up: { lose: 0.01, bytesPerSecond: null }, down: { delayMs: 20 } });
  await post('/fail', { action: 'StartSession', code: 'ThrottlingException', times: 3 });
  await post('/faults/clear');
  t.match(region.faults, { up: { lose: 0 }, down: { delayMs: 0 } });
  t.doesNotThrow(() => region.apiFaults.check('StartSession'));
});

t.test('legs are cut, tokens and calls refused, credentials expired, all from outside', async (t) => {
  const stand = await open(t);
  const { region, ssm, post, agents } = stand;
  const answer = await ssm.send(ssh);
  const leg = await openLeg(stand, answer);
  const sessionId = answer.SessionId!;
  await post('/cut-agent', { ms: 0, sessionId });
  await until(() => leg.texts.length === 3);
  t.same(leg.texts, ['start_publication', 'pause_publication', 'start_publication']);
  await post('/cut', { by: 'close', code: 1011, reason: 'gone', sessionId });
  t.match(await leg.closed, { code: 1011, reason: 'gone' });
  t.notMatch(agents[0]!.calls, ['close']);

  await post('/refuse-tokens', { times: 1 });
  const again = await ssm.send(ssh);
  const refused = await connectLeg(again.StreamUrl!, await signUpgrade(region, again.StreamUrl!));
  refused.socket.send(JSON.stringify({ ...openMessage, TokenValue: again.TokenValue }));
  t.match(await refused.closed, { code: 1008, reason: /the token is not valid/ });
  t.ok(await openLeg(stand, again), 'only once');

  await post('/fail', { action: 'GetConnectionStatus', code: 'ThrottlingException', times: 2 });
  const status = new GetConnectionStatusCommand({ Target: instanceId });
  for (let at = 0; at < 2; at += 1) await t.rejects(ssm.send(status), { name: 'ThrottlingException' });
  t.equal((await ssm.send(status)).Status, 'connected');
  await post('/node', { instanceId, state: 'stopped' });
  t.equal((await ssm.send(status)).Status, 'notconnected');
  await post('/quota', { action: 'GetConnectionStatus', perSecond: 0 });
  await t.rejects(ssm.send(status), { message: 'Rate exceeded' });
  await post('/fail', { action: 'ResumeSession', code: 'ThrottlingException', sessionId });
  t.throws(() => region.apiFaults.check('ResumeSession', { SessionId: sessionId }), { code: 'ThrottlingException' });
  await post('/gateway', { awayMessages: 0 });
  t.equal(region.gateway.awayMessages, 0);
  await post('/expire-credentials');
  await t.rejects(ssm.send(status), { name: 'ExpiredTokenException' });
  await post('/clock', { offsetMs: -600_000 });
  await t.rejects(ssm.send(status), { name: 'InvalidSignatureException' });
});

t.test('it tells of sessions, pushes and calls', async (t) => {
  const { ssm, get, region } = await open(t);
  const { SessionId } = await ssm.send(ssh);
  t.match(await get('/sessions'), [
    { sessionId: SessionId, target: instanceId, active: true, opens: [], traffic: { up: { bytes: 0 } } },
  ]);
  t.match(await get('/requests'), [{ action: 'StartSession', accessKeyId: region.env.AWS_ACCESS_KEY_ID, status: 200 }]);
  t.same(await get('/pushes'), []);
  t.match(await get('/gateway'), { awayMessages: 64 });
});

t.test('what can not be meant is refused and changes nothing', async (t) => {
  const { post, get, region } = await open(t);
  const cases: [string, object, RegExp][] = [
    ['/faults', { up: { loose: 1 } }, /no loose/],
    ['/faults', { up: { lose: 2 } }, /up\.lose/],
    ['/faults', { up: 1 }, /./],
    ['/cut', {}, /'by'/],
    ['/cut', { by: 'close' }, /needs a code/],
    ['/cut', { by: 'axe' }, /enum/],
    ['/cut', { by: 'reset', sessionId: 'nobody' }, /no session nobody/],
    ['/refuse-tokens', { times: 1, sessionId: 'nobody' }, /no session nobody/],
    ['/away', {}, /'ms'/],
    ['/expire-credentials', { accessKeyId: 'NOBODY' }, /no key NOBODY/],
    ['/node', { instanceId: 'i-nothing' }, /no node/],
    ['/fail', { action: 'StartSession' }, /'code'/],
    ['/gateway', { constructor: 1 }, /no constructor/],
  ];
  for (const [path, body, error] of cases) t.match(await post(path, body), { status: 400, body: { error } }, path);
  t.match(await post('/nothing'), { status: 404 });
  t.match(await get('/constructor'), { error: 'not found' });
  t.match(region.faults.up, { lose: 0 });
});
