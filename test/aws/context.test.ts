// openAws against the simulated region, by AWS's ordinary settings alone.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openAws } from '../../src/aws/own-context.ts';
import { systemClock } from '../../src/clock.ts';
import { silent } from '../../src/log.ts';
import type { RegionOptions } from '../region/options.ts';
import { type Region, startRegion } from '../region/region.ts';
import { useAwsSettings } from './aws-files.ts';

const target = 'i-0123456789abcdef0';
const request = { target, documentName: 'AWS-StartSSHSession', parameters: { portNumber: ['22'] } };
const options = { clock: systemClock, log: silent };

async function regionFor(t: Test, more: RegionOptions = {}): Promise<Region> {
  const region = await startRegion({ nodes: [{ instanceId: target }], ...more });
  t.teardown(() => region.stop());
  return region;
}

t.test('a session is started, asked about, resumed and ended', async (t) => {
  const region = await regionFor(t);
  useAwsSettings(t, {}, region.env);
  const aws = await openAws(options);
  t.teardown(() => aws.close());
  t.equal(aws.region, region.region);
  t.equal((await aws.ssm.endpoint()).host, new URL(region.endpoint).host);
  t.equal(await aws.ssm.getConnectionStatus(target), 'connected');
  t.equal(await aws.ssm.getConnectionStatus('i-00000000000000000'), 'notconnected');

  const started = await aws.ssm.startSession(request);
  t.match(started, { sessionId: /^alice-/, tokenValue: /./, streamUrl: /^ws:/ });
  const resumed = await aws.ssm.resumeSession(started.sessionId);
  t.equal(resumed.sessionId, started.sessionId);
  t.not(resumed.tokenValue, started.tokenValue);
  await aws.ssm.terminateSession(started.sessionId);
  t.not(region.sessions[0]?.endDate, undefined);
  await t.rejects(aws.ssm.resumeSession('alice-0123456789abcdef0'), { code: 'session-gone' });
});

t.test('the endpoint of the configuration file is honoured', async (t) => {
  const region = await regionFor(t);
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY } = region.env;
  const config = `[profile lab]\nregion = ${region.region}\nendpoint_url = ${region.endpoint}\n`;
  const credentials = `[lab]\naws_access_key_id = ${AWS_ACCESS_KEY_ID}\naws_secret_access_key = ${AWS_SECRET_ACCESS_KEY}\n`;
  useAwsSettings(t, { config, credentials });
  const aws = await openAws({ ...options, profile: 'lab' });
  t.teardown(() => aws.close());
  t.equal((await aws.ssm.endpoint()).host, new URL(region.endpoint).host);
  t.equal(await aws.ssm.getConnectionStatus(target), 'connected');
});

t.test('an explicit profile wins over keys in the environment, one of the environment does not', async (t) => {
  const credentials = '[prod]\naws_access_key_id = AKIDPROD\naws_secret_access_key = x\n';
  const env = {
    AWS_REGION: 'eu-west-1',
    AWS_PROFILE: 'prod',
    AWS_ACCESS_KEY_ID: 'AKIDENV',
    AWS_SECRET_ACCESS_KEY: 'y',
  };
  useAwsSettings(t, { credentials }, env);
  t.match(await (await openAws({ ...options, profile: 'prod' })).credentials(), { accessKeyId: 'AKIDPROD' });
  t.match(await (await openAws(options)).credentials(), { accessKeyId: 'AKIDENV' }, 'as the aws command does it');
});

t.test('the failure of a credential_process is reported as such, and it runs once', async (t) => {
  const folder = useAwsSettings(t, {}, { AWS_REGION: 'eu-west-1' });
  const runs = join(folder, 'runs');
  writeFileSync(join(folder, 'config'), `[profile p]\ncredential_process = sh -c "echo run >>${runs}; exit 3"\n`);
  await t.rejects(openAws({ ...options, profile: 'p' }), {
    code: 'credential-process-failed',
    message: /profile p failed/,
  });
  t.equal(readFileSync(runs, 'utf8'), 'run\n');
});

t.test('credentials are cached, and asked for again before they expire', async (t) => {
  const folder = useAwsSettings(t, {}, { AWS_REGION: 'eu-west-1' });
  const script = join(folder, 'process');
  const lasting = new Date(Date.now() + 3_600_000).toISOString();
  const expiring = new Date(Date.now() + 60_000).toISOString();
  writeFileSync(
    script,
    `n=$(cat ${folder}/n 2>/dev/null || echo 0); n=$((n + 1)); echo $n >${folder}/n
     [ $n = 1 ] && expires=${expiring} || expires=${lasting}
     echo '{"Version":1,"AccessKeyId":"AKID'$n'","SecretAccessKey":"x","SessionToken":"t","Expiration":"'$expires'"}'\n`,
  );
  writeFileSync(join(folder, 'config'), `[profile p]\ncredential_process = sh ${script}\n`);
  const aws = await openAws({ ...options, profile: 'p' });
  await aws.credentials();
  t.match(await aws.credentials(), { accessKeyId: 'AKID2' }, 'the first were about to expire');
  t.match(await aws.credentials(), { accessKeyId: 'AKID2', sessionToken: 't' });
});

t.test('expired SSO and missing credentials say what to do', async (t) => {
  const config =
    '[profile s]\nsso_start_url = https://x.awsapps.com/start\nsso_region = eu-west-1\nsso_account_id = 111122223333\nsso_role_name = r\nregion = eu-west-1\n';
  useAwsSettings(t, { config });
  await t.rejects(openAws({ ...options, profile: 's' }), {
    code: 'sso-expired',
    hint: 'aws sso login --profile s',
  });
  await t.rejects(openAws({ ...options, region: 'eu-west-1' }), { code: 'no-credentials' });
});

t.test("a clock that is off by an hour is corrected by AWS's, for our own signatures too", async (t) => {
  const region = await regionFor(t);
  useAwsSettings(t, {}, region.env);
  for (const hours of [1, -1]) {
    region.setClockOffset(hours * 3_600_000);
    const aws = await openAws(options);
    t.teardown(() => aws.close());
    const { streamUrl } = await aws.ssm.startSession(request);
    const headers = await aws.signer.sign(streamUrl);
    const signedAt = Date.parse(headers['X-Amz-Date']!.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z'));
    t.ok(Math.abs(signedAt - (Date.now() + hours * 3_600_000)) < 60_000, `${hours} h`);
  }
});

t.test('certificate authorities: those of AWS_CA_BUNDLE, or of NODE_EXTRA_CA_CERTS, or none that help', async (t) => {
  const region = await regionFor(t, { tls: true });
  const { AWS_CA_BUNDLE: file = '', NODE_EXTRA_CA_CERTS: _, ...env } = region.env;
  for (const trusted of [{ AWS_CA_BUNDLE: file }, { NODE_EXTRA_CA_CERTS: file }]) {
    useAwsSettings(t, {}, { ...env, ...trusted });
    const aws = await openAws(options);
    t.teardown(() => aws.close());
    t.ok((await aws.ssm.startSession(request)).sessionId, Object.keys(trusted).join());
  }
  useAwsSettings(t, {}, { ...env, NODE_EXTRA_CA_CERTS: '/nowhere.pem' });
  const aws = await openAws(options);
  t.teardown(() => aws.close());
  await t.rejects(aws.ssm.startSession(request), { code: 'tls-failed' });
});

t.test('twice as many sessions at once as the quota allows in a second all start', async (t) => {
  const region = await regionFor(t, { quotas: { StartSession: 30 } });
  useAwsSettings(t, {}, region.env);
  const aws = await openAws(options);
  t.teardown(() => aws.close());
  const { signal } = new AbortController();
  const started = await Promise.all(Array.from({ length: 60 }, () => aws.ssm.startSession(request, signal)));
  t.equal(new Set(started.map((session) => session.sessionId)).size, 60);
});

t.test('the reason for giving up is what AWS said last', async (t) => {
  const region = await regionFor(t);
  region.apiFaults.fail('StartSession', { code: 'ThrottlingException', message: 'Rate exceeded', times: 1000 });
  useAwsSettings(t, {}, region.env);
  const deadline = new AbortController();
  let throttled = 0;
  const aws = await openAws({
    clock: systemClock,
    log: (_level, _event, fields) => {
      if (fields?.code === 'throttled' && ++throttled === 2) deadline.abort(new Error('deadline'));
    },
  });
  t.teardown(() => aws.close());
  await t.rejects(aws.ssm.startSession(request, deadline.signal), { code: 'throttled', hint: /quota: 3 per second/ });
  t.equal(region.requests.length, 2, 'no attempt after it');
});

t.test('a StartSession under way is not cut by an abort: its answer names the session to end', async (t) => {
  const region = await regionFor(t);
  const stop = new AbortController();
  region.sessions.push = (session) => {
    stop.abort(new Error('SIGTERM'));
    return Array.prototype.push.call(region.sessions, session);
  };
  useAwsSettings(t, {}, region.env);
  const aws = await openAws(options);
  t.teardown(() => aws.close());
  const { sessionId } = await aws.ssm.startSession(request, stop.signal);
  t.equal(stop.signal.aborted, true);
  t.equal(sessionId, region.sessions[0]?.sessionId);
});

t.test('credentials that AWS calls expired are fetched anew once', async (t) => {
  const region = await regionFor(t);
  region.apiFaults.fail('GetConnectionStatus', { code: 'ExpiredTokenException', message: 'expired' });
  useAwsSettings(t, {}, region.env);
  const aws = await openAws(options);
  t.teardown(() => aws.close());
  t.equal(await aws.ssm.getConnectionStatus(target), 'connected');
  region.apiFaults.fail('GetConnectionStatus', { code: 'ExpiredTokenException', message: 'expired', times: 2 });
  await t.rejects(aws.ssm.getConnectionStatus(target), {
    code: 'credentials-expired',
    message: /from the environment/,
  });
});

t.test('a session is resumed by one call, with fresh credentials where ours are refused', async (t) => {
  const region = await regionFor(t);
  useAwsSettings(t, {}, region.env);
  const aws = await openAws(options);
  t.teardown(() => aws.close());
  const { sessionId } = await aws.ssm.startSession(request, new AbortController().signal);
  const calls = () => region.requests.filter(({ action }) => action === 'ResumeSession').length;
  for (const [code, error] of [
    ['ThrottlingException', 'throttled'],
    ['InternalServerError', 'aws-unavailable'],
    ['DoesNotExistException', 'session-gone'],
  ] as const) {
    const before = calls();
    region.apiFaults.fail('ResumeSession', { code });
    await t.rejects(aws.ssm.resumeSession(sessionId), { code: error });
    t.equal(calls(), before + 1, code);
  }
  for (const code of ['ExpiredTokenException', 'AccessDeniedException', 'UnrecognizedClientException']) {
    region.apiFaults.fail('ResumeSession', { code });
    t.match(await aws.ssm.resumeSession(sessionId), { sessionId }, `${code}, once`);
  }
  region.apiFaults.fail('ResumeSession', { code: 'AccessDeniedException', times: 2 });
  await t.rejects(aws.ssm.resumeSession(sessionId), { code: 'access-denied' });
});

t.test('connections that were kept are not used any more when they may lead nowhere', async (t) => {
  const region = await regionFor(t);
  useAwsSettings(t, {}, region.env);
  const aws = await openAws(options);
  t.teardown(() => aws.close());
  const { freeSockets } = aws.network.http;
  const kept = () => Object.values(freeSockets).flat();
  await aws.ssm.getConnectionStatus(target);
  while (kept().length === 0) await new Promise((resolve) => setImmediate(resolve));
  const [socket] = kept();
  aws.ssm.forgetConnections();
  t.equal(socket!.destroyed, true);
  t.equal(await aws.ssm.getConnectionStatus(target), 'connected');
});

t.test('refusals become advice', async (t) => {
  const region = await regionFor(t);
  useAwsSettings(t, {}, region.env);
  const aws = await openAws(options);
  t.teardown(() => aws.close());
  await t.rejects(aws.ssm.startSession({ ...request, target: 'i-00000000000000000' }), {
    code: 'target-not-connected',
  });
  await t.rejects(aws.ssm.startSession({ ...request, documentName: 'Nobody-WroteThis' }), { code: 'document-unknown' });

  process.env.AWS_SECRET_ACCESS_KEY = 'wrong';
  const liar = await openAws(options);
  t.teardown(() => liar.close());
  await t.rejects(liar.ssm.getConnectionStatus(target), { code: 'credentials-invalid' });
});
