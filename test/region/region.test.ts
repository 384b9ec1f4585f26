import { spawn, spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { StartSessionCommand } from '@aws-sdk/client-ssm';
import t from 'tap';
import { WebSocket } from 'ws';
import { createServerCertificate } from './certificate.ts';
import { instanceId, openLeg, openMessage, signUpgrade, startStand } from './fixture.ts';
import { startRegion } from './region.ts';
import { makeTemporaryFolder, removeFolder } from './temporary.ts';

const ssh = new StartSessionCommand({ Target: instanceId, DocumentName: 'AWS-StartSSHSession' });
const top = fileURLToPath(new URL('../..', import.meta.url));

/** Runs Node with the region's exports, as a user's tool would be. */
async function runNode(env: Record<string, string>, program: string): Promise<string> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    cwd: top,
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  child.stdout.setEncoding('utf8');
  const output: string[] = [];
  child.stdout.on('data', (text: string) => output.push(text));
  await once(child, 'close');
  return output.join('').trim();
}

const describeSessions = `
  import { DescribeSessionsCommand, SSMClient } from '@aws-sdk/client-ssm';
  const { Sessions } = await new SSMClient({ maxAttempts: 1 }).send(new DescribeSessionsCommand({ State: 'Active' }));
  console.log(Sessions.length);
`;

for (const tls of [false, true]) {
  t.test(`the exports are all that the SDK needs, ${tls ? 'with' : 'without'} TLS`, async (t) => {
    const { region } = await startStand(t, { tls });
    t.match(region.endpoint, tls ? /^https:/ : /^http:/);
    t.equal(await runNode(region.env, describeSessions), '0');
    t.match(region.requests, [{ action: 'DescribeSessions', status: 200, accessKeyId: region.env.AWS_ACCESS_KEY_ID }]);
  });
}

t.test('over TLS the StreamUrl is wss, by the same certificate', async (t) => {
  const { region } = await startStand(t, { tls: true });
  const request = await runNode(
    region.env,
    `import { SSMClient, StartSessionCommand } from '@aws-sdk/client-ssm';
     const command = new StartSessionCommand({ Target: '${instanceId}', DocumentName: 'AWS-StartSSHSession' });
     console.log(JSON.stringify(await new SSMClient({}).send(command)));`,
  );
  const { StreamUrl, TokenValue } = JSON.parse(request);
  t.match(StreamUrl, /^wss:/);
  const socket = new WebSocket(StreamUrl, { ca: region.ca, headers: await signUpgrade(region, StreamUrl) });
  await once(socket, 'open');
  const { authorized } = (socket as unknown as { _socket: { authorized: boolean } })._socket;
  t.ok(authorized);
  socket.send(JSON.stringify({ ...openMessage, TokenValue }));
  await once(socket, 'message');
  region.cut({ by: 'reset' });
  const [code] = await once(socket, 'close');
  t.equal(code, 1006);
});

t.test('the certificate is good for loopback by name and address, and made by the CA', async (t) => {
  const { ca, cert } = createServerCertificate(Date.now(), ['ssm.eu-west-1.amazonaws.com']);
  const [issuer, server] = [new X509Certificate(ca), new X509Certificate(cert)];
  t.ok(issuer.ca);
  t.notOk(server.ca);
  t.ok(issuer.verify(issuer.publicKey));
  t.ok(server.verify(issuer.publicKey));
  t.ok(server.checkIssued(issuer));
  for (const name of ['localhost', 'ssm.eu-west-1.amazonaws.com']) t.equal(server.checkHost(name), name);
  for (const address of ['127.0.0.1', '::1']) t.equal(server.checkIP(address), address);
  t.notOk(server.checkHost('example.com'));
  t.ok(Date.parse(server.validFrom) < Date.now() && Date.parse(server.validTo) > Date.now() + 86_400_000);
});

t.test('a StreamUrl can be made to point elsewhere', async (t) => {
  const { ssm } = await startStand(t, { streamUrl: (url) => url.replace(/\/\/[^/]+/, '//evil.example') });
  t.match((await ssm.send(ssh)).StreamUrl, /^ws:\/\/evil\.example\/v1\/data-channel\/alice-/);
});

t.test('stop leaves no listener, no socket, no file, and no session', async (t) => {
  const stand = await startStand(t, { tls: false });
  const leg = await openLeg(stand, await stand.ssm.send(ssh));
  const idle = connect(Number(new URL(stand.region.endpoint).port), '127.0.0.1').on('error', () => {});
  await once(idle, 'connect');
  await stand.region.stop();
  t.match(await leg.closed, { code: 1006 });
  t.match(stand.agents[0]!.calls, ['close']);
  t.notOk(stand.region.sessions.some((session) => session.active));
  const again = connect(Number(new URL(stand.region.endpoint).port), '127.0.0.1');
  const [error] = await once(again, 'error');
  t.equal(error.code, 'ECONNREFUSED');
  const secure = await startRegion({ tls: true });
  t.ok(existsSync(secure.env.AWS_CA_BUNDLE!));
  await secure.stop();
  t.notOk(existsSync(secure.env.AWS_CA_BUNDLE!));
});

t.test('a port that is taken is an error', async (t) => {
  const { region } = await startStand(t);
  const port = Number(new URL(region.endpoint).port);
  await t.rejects(startRegion({ port, tls: true }), { code: 'EADDRINUSE' });
});

interface Run {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** scripts/region as a process; `onOutput` sees stdout as it grows. */
async function runScript(
  args: string[],
  onOutput: (stdout: string, kill: () => void) => void = () => {},
): Promise<Run> {
  const child = spawn('scripts/region', ['--sshd', 'ssh2', ...args], { cwd: top, stdio: ['ignore', 'pipe', 'pipe'] });
  const run: Run = { status: null, stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    run.stdout += text;
    onOutput(run.stdout, () => child.kill('SIGTERM'));
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    run.stderr += text;
  });
  const [status] = await once(child, 'close');
  return { ...run, status };
}

t.test('scripts/region runs a command with the exports, lists the sessions, and exits with its status', async (t) => {
  const program = `
    import { readFileSync, statSync } from 'node:fs';
    import { SSMClient, StartSessionCommand, TerminateSessionCommand } from '@aws-sdk/client-ssm';
    const ssm = new SSMClient({});
    const { SessionId } = await ssm.send(new StartSessionCommand({ Target: process.env.REGION_NODE_ID }));
    await ssm.send(new TerminateSessionCommand({ SessionId }));
    const { REGION_IDENTITY_FILE, REGION_KNOWN_HOSTS_FILE } = process.env;
    console.log((statSync(REGION_IDENTITY_FILE).mode & 0o777).toString(8), REGION_IDENTITY_FILE);
    console.log(readFileSync(REGION_KNOWN_HOSTS_FILE, 'utf8').split(' ')[0]);
    process.exit(7);`;
  const { status, stdout, stderr } = await runScript(['--tls', '--', 'node', '--input-type=module', '-e', program]);
  t.equal(status, 7);
  const [mode, file, hosts] = stdout.trim().split(/\s/);
  t.same([mode, hosts], ['600', 'i-0123456789abcdef0,mi-0123456789abcdef0']);
  t.notOk(existsSync(file!), 'the key is gone');
  t.match(stderr, /^region: sessions: 1, active: 0\nregion: {3}alice-\w+ {2}mi-0\w+ {2}SSM-Session\w+ {2}Terminated /);
});

t.test('scripts/region prints exports that a shell can read, and serves until a signal', async (t) => {
  let answer: Promise<string> | undefined;
  const { status, stdout, stderr } = await runScript([], (output, kill) => {
    if (!output.endsWith('# ready\n') || answer !== undefined) return;
    const env = Object.fromEntries(
      [...output.matchAll(/^export (\w+)='(.*)'$/gm)].map(([, name, value]) => [name, value]),
    );
    answer = runNode(env, describeSessions).finally(kill);
  });
  t.equal(await answer, '0');
  t.equal(status, 0);
  t.match(stdout, /^unset AWS_PROFILE .*\n(export \w+='[^']*'\n)+# ready\n$/);
  t.equal(stderr, 'region: sessions: 0, active: 0\n');
});

t.test('with --no-identity there is no key that may log in, and faults are set from outside', async (t) => {
  const program = `
    const { REGION_ADMIN_URL, REGION_IDENTITY_FILE } = process.env;
    await fetch(REGION_ADMIN_URL + '/faults', { method: 'POST', body: '{"up":{"lose":0.5}}' });
    const { up } = await (await fetch(REGION_ADMIN_URL + '/faults')).json();
    console.log(REGION_IDENTITY_FILE, up.lose);`;
  const { stdout } = await runScript(['--no-identity', '--', 'node', '--input-type=module', '-e', program]);
  t.equal(stdout, 'undefined 0.5\n');
});

t.test('who else may call has an environment of its own', async (t) => {
  const { region } = await startStand(t, {
    accessKeys: [
      { accessKeyId: 'A', secretAccessKey: 'a', sessionToken: 'of A' },
      { accessKeyId: 'B', secretAccessKey: 'b', arn: 'arn:aws:iam::111122223333:user/bob' },
    ],
  });
  t.match(region.env, { AWS_ACCESS_KEY_ID: 'A', AWS_SESSION_TOKEN: 'of A' });
  t.equal(region.envFor('B').AWS_SESSION_TOKEN, undefined);
  await runNode(region.envFor('B'), describeSessions);
  await runNode(region.env, describeSessions);
  t.match(region.requests, [
    { accessKeyId: 'B', arn: /user\/bob$/ },
    { accessKeyId: 'A', arn: /user\/alice$/ },
  ]);
  t.ok(region.requests[0]!.at < region.requests[1]!.at);
  t.throws(() => region.envFor('C'), /no such key/);
});

t.test('folders of processes that were killed are removed by the next', async (t) => {
  const child = spawnSync(process.execPath, ['-e', '']);
  const [left, other] = [`keyhole-region-${child.pid}-ca-`, `keyhole-region-${process.pid}-ca-`].map((prefix) =>
    mkdtempSync(join(tmpdir(), prefix)),
  );
  const made = makeTemporaryFolder('test');
  t.same(
    [left, other, made].map((folder) => existsSync(folder!)),
    [false, true, true],
  );
  for (const folder of [other, made]) removeFolder(folder!);
});

for (const args of [['--nothing'], ['--'], ['--port', 'x'], ['--quota', 'x'], ['--fault', 'up.x=1'], ['--sshd', 'x']]) {
  t.test(`scripts/region ${args.join(' ')} is used wrongly`, async (t) => {
    const child = spawnSync(process.execPath, ['scripts/region.ts', ...args], { cwd: top, encoding: 'utf8' });
    t.equal(child.status, 2);
    t.equal(child.stdout, '');
    t.match(child.stderr, /^region: .*\nregion: see scripts\/region --help\n$/);
  });
}
