// Whose AWS settings hold: every call is signed with the caller's current own, goes the caller's way, and is dated by
// AWS's clock (issue 3). The region records who signed.
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { RequestRecord } from '../region/api/service.ts';
import { type DaemonBench, openDaemonBench, useProfiles, works } from './daemon-bench.ts';

/** Gives what the region was asked since the last look. */
function watchCalls({ region }: DaemonBench): () => RequestRecord[] {
  let seen = region.requests.length;
  return () => {
    const calls = region.requests.slice(seen);
    seen += calls.length;
    return calls;
  };
}

function signers(calls: RequestRecord[]): (string | undefined)[] {
  return [...new Set(calls.map(({ accessKeyId }) => accessKeyId))];
}

/** One connection, all of whose calls are this key's. */
async function connectAs(t: Test, bench: DaemonBench, env: Record<string, string>, accessKeyId: string, name: string) {
  const look = watchCalls(bench);
  t.match(await bench.works({ env }), works, name);
  await bench.idle();
  const calls = look();
  t.same(signers(calls), [accessKeyId], `${name}: nobody else signed`);
  const actions = calls.map(({ action }) => action);
  for (const action of ['StartSession', 'OpenDataChannel']) t.ok(actions.includes(action), `${name}: ${action}`);
  t.same(
    calls.filter(({ error }) => error !== undefined),
    [],
    `${name}: nothing was refused`,
  );
}

t.test('two profiles used alternately, a third added, a key file rewritten, while the daemon runs', async (t) => {
  const bench = await openDaemonBench(t);
  const { accessKeyIds } = useProfiles(bench, { one: {}, two: {} });
  const as = (profile: string, name: string) =>
    connectAs(t, bench, { AWS_PROFILE: profile }, accessKeyIds[profile]!, name);
  for (const profile of ['one', 'two', 'one', 'two']) await as(profile, profile);
  const [daemon] = bench.daemons();

  const before = { ...accessKeyIds };
  Object.assign(accessKeyIds, useProfiles(bench, { one: {}, two: {}, three: {} }).accessKeyIds);
  t.notSame(accessKeyIds.one, before.one);
  for (const id of Object.values(before)) bench.region.identities.remove(id);
  await as('three', 'a profile that was added');
  await as('one', 'a profile whose key was rewritten, the old key being of no use any more');
  t.same(bench.daemons(), [daemon]);
});

t.test('both at once', async (t) => {
  const bench = await openDaemonBench(t);
  const { accessKeyIds } = useProfiles(bench, { one: {}, two: {} });
  const profiles = ['one', 'two', 'one', 'two'];
  const results = await Promise.all(profiles.map((profile) => bench.works({ env: { AWS_PROFILE: profile } })));
  for (const result of results) t.match(result, works);
  const owners = bench.region.sessions.map(({ owner, opens }) => [owner.accessKeyId, opens[0]?.accessKeyId]);
  for (const [started, opened] of owners) t.equal(started, opened, 'who started a session opened its channel');
  t.same(new Set(owners.flat()), new Set(Object.values(accessKeyIds)));
});

t.test('keys in the environment, those of a profile named by the host, and a profile unknown', async (t) => {
  const bench = await openDaemonBench(t);
  const own = bench.env.AWS_ACCESS_KEY_ID!;
  await connectAs(t, bench, {}, own, 'the environment');
  const keys = { AWS_ACCESS_KEY_ID: own, AWS_SECRET_ACCESS_KEY: bench.env.AWS_SECRET_ACCESS_KEY! };
  const { accessKeyIds } = useProfiles(bench, { one: {} });
  Object.assign(bench.env, keys);
  const [instance] = bench.instances;
  writeFileSync(
    bench.path('known_hosts'),
    readFileSync(bench.path('known_hosts'), 'utf8').replace(instance!, `${instance}*`),
  );
  const look = watchCalls(bench);
  t.match(await bench.works({}, [], `${instance}.eu-west-1.one`), works);
  await bench.idle();
  t.same(signers(look()), [accessKeyIds.one], 'the host’s suffix wins');
  t.match(await bench.works({}, [], `${instance}.eu-west-1.onne`), { status: 255, stderr: /did you mean one\?/ });
  await connectAs(t, bench, {}, own, 'the environment again');
});

t.test('a new key that has ended by AWS’s clock is asked for again', async (t) => {
  const bench = await openDaemonBench(t);
  useProfiles(bench, { default: { expiresAt: Date.now() + 3_600_000, sessionToken: 'a-token' } });
  appendFileSync(join(bench.home, '.aws/credentials'), 'aws_session_token = a-token\n');
  t.match(await bench.works(), works);
  // The user logs in again: new keys are in the same file; the old ones end.
  const { accessKeyIds } = useProfiles(bench, { default: {} });
  await connectAs(t, bench, {}, accessKeyIds.default!, 'the new key');
});

t.test('clocks that disagree by an hour, and jump while the daemon runs', async (t) => {
  const bench = await openDaemonBench(t);
  const hourMs = 3_600_000;
  for (const offset of [0, hourMs, -hourMs, 0]) {
    bench.region.setClockOffset(offset);
    t.match(await bench.works(), works, `the region is ${offset / hourMs} h ahead`);
    await bench.idle();
  }
});

t.test('behind an HTTPS proxy', async (t) => {
  const bench = await openDaemonBench(t, { region: { tls: true } });
  const proxy = await startConnectProxy(t);
  // Only what the caller's settings say counts.
  const env = { NODE_EXTRA_CA_CERTS: undefined, SSL_CERT_FILE: undefined, NO_PROXY: undefined, no_proxy: undefined };

  t.match(await bench.works({ env }), works, 'no proxy; the certificate authority is in AWS_CA_BUNDLE alone');
  t.equal(proxy.tunnels.length, 0);

  t.match(await bench.works({ env: { ...env, HTTPS_PROXY: proxy.url } }), works, 'with HTTPS_PROXY');
  await bench.idle();
  const { host } = new URL(bench.region.endpoint);
  t.ok(proxy.tunnels.length >= 2, `the API and the websocket, ${proxy.tunnels.length} tunnels`);
  t.same(new Set(proxy.tunnels), new Set([host]));

  const used = proxy.tunnels.length;
  const bypassed = { ...env, HTTPS_PROXY: proxy.url, NO_PROXY: 'example.com,127.0.0.1' };
  t.match(await bench.works({ env: bypassed }), works, 'with NO_PROXY');
  t.equal(proxy.tunnels.length, used, 'the proxy is left out');

  proxy.refuse = true;
  const refused = await bench.works({ env: { ...env, https_proxy: proxy.url, HTTPS_PROXY: undefined } });
  t.match(
    refused,
    { status: 255, stderr: /^keyhole: .*\nkeyhole: hint: / },
    'a proxy that refuses is an error, not a way around it',
  );
  t.notMatch(refused.stderr, /secret/);

  t.match(await bench.works({ env: { ...env, AWS_CA_BUNDLE: bench.path('nothing') } }), {
    status: 255,
    stderr: /^keyhole: cannot read AWS_CA_BUNDLE /,
  });
  t.match(
    await bench.works({ env: { ...env, AWS_CA_BUNDLE: undefined } }),
    { status: 255, stderr: /^keyhole: / },
    'a certificate authority that nobody named is not trusted',
  );
});

interface ConnectProxy {
  url: string;
  /** Where each CONNECT went, `host:port`. */
  tunnels: string[];
  refuse: boolean;
}

/** A proxy that asks for a name and a password and knows CONNECT alone. */
async function startConnectProxy(t: Test): Promise<ConnectProxy> {
  const server = createServer((_, response) => response.writeHead(405).end());
  const proxy: ConnectProxy = { url: '', tunnels: [], refuse: false };
  server.on('connect', (request, client, head) => {
    const authorized = request.headers['proxy-authorization'] === `Basic ${btoa('user:secret')}`;
    if (proxy.refuse || !authorized) {
      client.end(`HTTP/1.1 ${authorized ? '403 Forbidden' : '407 Proxy Authentication Required'}\r\n\r\n`);
      return;
    }
    proxy.tunnels.push(request.url!);
    const [host, port] = request.url!.split(':');
    const target = connect(Number(port), host!, () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      target.write(head);
      target.pipe(client).pipe(target);
    });
    client.on('error', () => target.destroy());
    target.on('error', () => client.destroy());
    t.teardown(() => {
      target.destroy();
      client.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  proxy.url = `http://user:secret@127.0.0.1:${(server.address() as AddressInfo).port}`;
  return proxy;
}
