import {
  DescribeInstanceInformationCommand,
  DescribeSessionsCommand,
  GetConnectionStatusCommand,
  ResumeSessionCommand,
  StartSessionCommand,
  type StartSessionCommandInput,
  TerminateSessionCommand,
} from '@aws-sdk/client-ssm';
import t from 'tap';
import { ManualClock } from '../../manual-clock.ts';
import { instanceId, ssmClient, startStand, until } from '../fixture.ts';

const ssh = new StartSessionCommand({ Target: instanceId, DocumentName: 'AWS-StartSSHSession' });
const describe = new DescribeSessionsCommand({ State: 'Active' });

t.test('StartSession answers with what opens the channel', async (t) => {
  const { region, ssm } = await startStand(t, {
    accessKeys: [
      { accessKeyId: 'AKID', secretAccessKey: 's', arn: 'arn:aws:sts::111122223333:assumed-role/Dev/a.b@example.com' },
    ],
  });
  const { SessionId, TokenValue, StreamUrl, $metadata } = await ssm.send(ssh);
  t.match(SessionId, /^a\.b@example\.com-[0-9a-z]{26}$/);
  t.match(TokenValue, /^AAEAA/);
  t.ok(TokenValue!.length <= 300, 'the model allows 300');
  const path = `/v1/data-channel/${SessionId}?role=publish_subscribe&cell-number=`;
  t.match(StreamUrl, `${region.endpoint.replace('http', 'ws')}${path}`);
  t.match(StreamUrl!.slice(StreamUrl!.indexOf('cell-number=') + 12), /^(?=.*\+)(?=.*\/).*=$/, 'raw + / =');
  t.match($metadata.requestId, /^[0-9a-f-]{36}$/);
  t.match(region.requests, [
    { service: 'ssm', action: 'StartSession', accessKeyId: 'AKID', input: { Target: instanceId }, status: 200 },
  ]);
});

t.test('a session id may be of the older form', async (t) => {
  const { ssm } = await startStand(t, { sessions: { idStyle: 'hex' } });
  t.match((await ssm.send(ssh)).SessionId, /^alice-0[0-9a-f]{16}$/);
});

t.test('what StartSession refuses, and how', async (t) => {
  const { ssm, region } = await startStand(t, {
    nodes: [{ instanceId }, { instanceId: 'mi-0123456789abcdef0', online: false }],
  });
  const parameters = (value: Record<string, unknown>) => ({ Parameters: value as Record<string, string[]> });
  const cases: [string, Partial<StartSessionCommandInput>, string, RegExp][] = [
    ['an unknown instance', { Target: 'i-0fffffffffffffff0' }, 'TargetNotConnected', /^i-0f+0 is not connected\.$/],
    ['an agent that is away', { Target: 'mi-0123456789abcdef0' }, 'TargetNotConnected', /is not connected/],
    ['an unknown document', { DocumentName: 'AWS-Nothing' }, 'InvalidDocument', /AWS-Nothing/],
    ['a document named like a property of objects', { DocumentName: 'constructor' }, 'InvalidDocument', /constructor/],
    [
      'a target over 400',
      { Target: 'i'.repeat(401) },
      'ValidationException',
      /at 'target' .* less than or equal to 400/,
    ],
    [
      'a document name with a blank',
      { DocumentName: 'a b c' },
      'ValidationException',
      /at 'documentName' .* pattern: \^\[a/,
    ],
    ['a reason over 256', { Reason: 'x'.repeat(257) }, 'ValidationException', /at 'reason'/],
    ['a port over 65535', parameters({ portNumber: ['70000'] }), 'InvalidParameters', /"70000"/],
    ['a port with a command', parameters({ portNumber: ['22;id'] }), 'InvalidParameters', /"22;id"/],
    ['two ports', parameters({ portNumber: ['22', '23'] }), 'InvalidParameters', /portNumber/],
    ['a parameter that the document has not', parameters({ host: ['a.b'] }), 'InvalidParameters', /host/],
    ['a port that is no list', parameters({ portNumber: '22' }), 'SerializationException', /List/],
    ['a port that is a number', parameters({ portNumber: [22] }), 'SerializationException', /NUMBER_VALUE/],
  ];
  for (const [name, change, code, message] of cases) {
    const input = { Target: instanceId, DocumentName: 'AWS-StartSSHSession', ...change };
    const sent = ssm.send(new StartSessionCommand(input));
    await t.rejects(sent, { name: code, message, $metadata: { httpStatusCode: 400 } }, name);
  }
  const empty = new StartSessionCommand({ Target: instanceId, Reason: '', DocumentName: 'x' });
  await t.rejects(ssm.send(empty), { name: 'ValidationException', message: /^[23] validation errors detected: .*; / });
  t.equal(region.sessions.length, 0);
});

t.test('StartSession needs the permission on the instance and on the document', async (t) => {
  const { ssm, region } = await startStand(t);
  const [arn, where] = [
    'arn:aws:iam::111122223333:user/alice',
    `arn:aws:ec2:eu-west-1:111122223333:instance/${instanceId}`,
  ];
  region.identities.denials.push({ action: 'ssm:StartSession', resource: where });
  await t.rejects(ssm.send(ssh), {
    name: 'AccessDeniedException',
    message: `User: ${arn} is not authorized to perform: ssm:StartSession on resource: ${where} with an explicit deny in an identity-based policy`,
  });
  region.identities.denials.pop();
  region.identities.denials.push({ action: 'ssm:Start*', resource: '*:document/AWS-StartSSHSession' });
  const document = /on resource: arn:aws:ssm:eu-west-1::document\/AWS-StartSSHSession /;
  await t.rejects(ssm.send(ssh), { name: 'AccessDeniedException', message: document });
  t.ok(await ssm.send(new StartSessionCommand({ Target: instanceId })), 'a document not named is not checked');
});

t.test('a key may do what its policy allows and nothing else', async (t) => {
  const Statement = { Effect: 'Allow' as const, Action: 'ssm:StartSession', Resource: '*' };
  const { ssm } = await startStand(t, {
    accessKeys: [{ accessKeyId: 'AKID', secretAccessKey: 's', policies: [{ Statement }] }],
  });
  const { SessionId } = await ssm.send(ssh);
  await t.rejects(ssm.send(new TerminateSessionCommand({ SessionId })), {
    name: 'AccessDeniedException',
    message:
      /resource: arn:aws:ssm:eu-west-1:111122223333:session\/alice-\w+ because no identity-based policy allows the ssm:TerminateSession action$/,
  });
});

t.test('signatures that are wrong, old or of nobody', async (t) => {
  const { region, ssm } = await startStand(t, {
    accessKeys: [
      { accessKeyId: 'AKID', secretAccessKey: 'right' },
      { accessKeyId: 'ASIA', secretAccessKey: 'right', sessionToken: 'T', expiresAt: Date.now() - 1000 },
    ],
  });
  const as = (accessKeyId: string, secretAccessKey: string, sessionToken?: string) =>
    ssmClient(t, region, { credentials: { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }) } });
  await t.rejects(as('AKID', 'wrong').send(describe), { name: 'InvalidSignatureException', message: /does not match/ });
  await t.rejects(as('NOBODY', 'right').send(describe), { name: 'UnrecognizedClientException' });
  await t.rejects(as('ASIA', 'right').send(describe), { name: 'UnrecognizedClientException' }, 'without its token');
  await t.rejects(as('ASIA', 'right', 'T').send(describe), { name: 'ExpiredTokenException', message: /is expired/ });
  const elsewhere = ssmClient(t, region, { region: 'us-east-1' });
  await t.rejects(elsewhere.send(describe), { name: 'InvalidSignatureException', message: /valid region/ });
  t.ok(await ssm.send(describe));
  t.same(
    region.requests.map((request) => request.accessKeyId),
    [undefined, undefined, undefined, undefined, undefined, 'AKID'],
    'the record names only who proved it',
  );
});

t.test('a clock that is an hour off is refused, and the Date header says by how much', async (t) => {
  const { region, ssm } = await startStand(t, { clockOffsetMs: 3_600_000 });
  const refused = await ssm.send(describe).catch((error) => error);
  t.match(refused, { name: 'InvalidSignatureException', message: /^Signature expired: \d+T\d+Z is now earlier than/ });
  const date = Date.parse(refused.$response.headers.date);
  t.ok(Math.abs(date - Date.now() - 3_600_000) < 10_000);
  region.setClockOffset(-3_600_000);
  const early = ssmClient(t, region);
  await t.rejects(early.send(describe), { message: /^Signature not yet current: / });
  const corrected = ssmClient(t, region, { maxAttempts: 2 });
  t.ok(await corrected.send(describe), "the SDK's own correction by that header is enough");
});

t.test('three StartSession in a second, per account, then ThrottlingException until time passes', async (t) => {
  const clock = new ManualClock(Date.now());
  const { region, ssm } = await startStand(t, {
    clock,
    quotas: {},
    accessKeys: [
      { accessKeyId: 'A', secretAccessKey: 's' },
      { accessKeyId: 'B', secretAccessKey: 's' },
      { accessKeyId: 'C', secretAccessKey: 's', account: '444455556666' },
    ],
  });
  const as = (accessKeyId: string) => ssmClient(t, region, { credentials: { accessKeyId, secretAccessKey: 's' } });
  const start = () => ssm.send(ssh);
  await Promise.all([start(), start(), start()]);
  await t.rejects(start(), { name: 'ThrottlingException', message: 'Rate exceeded' });
  await t.rejects(as('B').send(ssh), { name: 'ThrottlingException' }, 'another key of the account');
  await t.rejects(as('C').send(ssh), { name: 'TargetNotConnected' }, 'another account has its own, and other nodes');
  await clock.advance(334);
  await start();
  await t.rejects(start(), { name: 'ThrottlingException' });
  await clock.advance(60_000);
  await Promise.all([start(), start(), start()]);
  await t.rejects(start(), { name: 'ThrottlingException' }, 'a minute saves up no more than a second');
});

t.test('calls fail as they are told to', async (t) => {
  const { region, ssm } = await startStand(t);
  region.apiFaults.fail('StartSession', { code: 'InternalServerError', status: 500, times: 2 });
  region.apiFaults.fail('StartSession', { code: 'ThrottlingException', message: 'Rate exceeded' });
  await t.rejects(ssm.send(ssh), { name: 'InternalServerError', $metadata: { httpStatusCode: 500 } });
  await t.rejects(ssm.send(ssh), { name: 'InternalServerError' });
  await t.rejects(ssm.send(ssh), { name: 'ThrottlingException' });
  t.ok(await ssm.send(ssh));
});

t.test('an answer that is held back comes late, to a call that was carried out at once', async (t) => {
  const { region, ssm } = await startStand(t);
  const release = region.apiFaults.hold('StartSession');
  let isAnswered = false;
  const answer = ssm.send(ssh).then((session) => {
    isAnswered = true;
    return session;
  });
  await until(() => region.sessions.length === 1);
  await ssm.send(describe);
  t.equal(isAnswered, false);
  release();
  t.equal((await answer).SessionId, region.sessions[0]!.sessionId);
  t.ok(await ssm.send(ssh), 'and the next one at once');
});

t.test('a session is Active until it is terminated, and then History', async (t) => {
  const { region, ssm, agents } = await startStand(t);
  const { SessionId } = await ssm.send(new StartSessionCommand({ ...ssh.input, Reason: 'test' }));
  const { Sessions } = await ssm.send(describe);
  t.match(Sessions, [
    {
      SessionId,
      Target: instanceId,
      Status: 'Connecting',
      DocumentName: 'AWS-StartSSHSession',
      Owner: 'arn:aws:iam::111122223333:user/alice',
      Reason: 'test',
      EndDate: undefined,
    },
  ]);
  t.ok(Math.abs(Sessions![0]!.StartDate!.getTime() - Date.now()) < 10_000);
  t.match(await ssm.send(new TerminateSessionCommand({ SessionId })), { SessionId });
  t.match(agents[0]!.calls, [/^cancel /, 'close']);
  t.same((await ssm.send(describe)).Sessions, []);
  const history = await ssm.send(new DescribeSessionsCommand({ State: 'History' }));
  t.match(history.Sessions, [{ SessionId, Status: 'Terminated', EndDate: Date }]);
  t.match(await ssm.send(new TerminateSessionCommand({ SessionId })), { SessionId }, 'twice is as good as once');
  t.equal(region.sessions[0]!.endCause, 'terminated');
});

t.test('DescribeSessions filters and pages', async (t) => {
  const { ssm } = await startStand(t);
  const ids: string[] = [];
  for (let at = 0; at < 5; at += 1) ids.unshift((await ssm.send(ssh)).SessionId!);
  const list = (input: object) => ssm.send(new DescribeSessionsCommand({ State: 'Active', ...input }));
  const seen: string[] = [];
  let NextToken: string | undefined;
  do {
    const page = await list({ MaxResults: 2, ...(NextToken && { NextToken }) });
    seen.push(...page.Sessions!.map((session) => session.SessionId!));
    NextToken = page.NextToken;
  } while (NextToken !== undefined);
  t.same(seen, ids, 'newest first, each once');
  const count = async (key: string, value: string) => (await list({ Filters: [{ key, value }] })).Sessions!.length;
  t.equal(await count('SessionId', ids[2]!), 1);
  t.equal(await count('Target', instanceId), 5);
  t.equal(await count('Target', 'i-0fffffffffffffff0'), 0);
  t.equal(await count('Owner', 'arn:aws:iam::111122223333:user/alice'), 5);
  t.equal(await count('Status', 'Connected'), 0);
  t.equal(await count('InvokedAfter', '2020-01-01T00:00:00Z'), 5);
  t.equal(await count('InvokedBefore', '2020-01-01T00:00:00Z'), 0);
  await t.rejects(list({ NextToken: 'made-up' }), { name: 'InvalidNextToken' });
  await t.rejects(list({ MaxResults: 201 }), { name: 'ValidationException' });
  await t.rejects(list({ State: 'Idle' }), { name: 'ValidationException', message: /\[Active, History\]/ });
});

t.test('sessions of another account do not exist', async (t) => {
  const { region, ssm } = await startStand(t, {
    accessKeys: [
      { accessKeyId: 'A', secretAccessKey: 's' },
      { accessKeyId: 'C', secretAccessKey: 's', account: '444455556666' },
    ],
  });
  const { SessionId } = await ssm.send(ssh);
  const other = ssmClient(t, region, { credentials: { accessKeyId: 'C', secretAccessKey: 's' } });
  t.same((await other.send(describe)).Sessions, []);
  await t.rejects(other.send(new ResumeSessionCommand({ SessionId })), { name: 'DoesNotExistException' });
  await other.send(new TerminateSessionCommand({ SessionId }));
  t.ok(region.sessions[0]!.active);
});

t.test('ResumeSession gives a new token and a new cell, and no token once the session has ended', async (t) => {
  const { ssm } = await startStand(t);
  const first = await ssm.send(ssh);
  const resume = new ResumeSessionCommand({ SessionId: first.SessionId });
  const second = await ssm.send(resume);
  t.equal(second.SessionId, first.SessionId);
  t.not(second.TokenValue, first.TokenValue);
  t.not(second.StreamUrl, first.StreamUrl);
  await ssm.send(new TerminateSessionCommand({ SessionId: first.SessionId }));
  const last = await ssm.send(resume);
  t.match(last, { SessionId: first.SessionId, TokenValue: undefined, StreamUrl: undefined });
  await t.rejects(ssm.send(new ResumeSessionCommand({ SessionId: 'alice-nothing' })), {
    name: 'DoesNotExistException',
  });
});

t.test('a session ends when it was idle for too long, and resuming it counts as being busy', async (t) => {
  const clock = new ManualClock(Date.now());
  const { region, ssm } = await startStand(t, { clock, quotas: {} });
  const { SessionId } = await ssm.send(ssh);
  const [session] = region.sessions;
  await clock.advance(19 * 60_000);
  const later = ssmClient(t, region, { systemClockOffset: clock.wallTime() - Date.now() });
  await later.send(new ResumeSessionCommand({ SessionId }));
  await clock.advance(19 * 60_000);
  t.ok(session!.active);
  await clock.advance(60_000);
  t.match(session, { active: false, endCause: 'idle' });
  t.equal(clock.pending, 0);
});

t.test('a session ends at its maximum duration whatever it does', async (t) => {
  const clock = new ManualClock(Date.now());
  const { region, ssm } = await startStand(t, { clock, sessions: { maxDurationMs: 60_000 } });
  await ssm.send(ssh);
  t.match((await ssm.send(describe)).Sessions, [{ MaxSessionDuration: '1' }]);
  await clock.advance(60_000);
  t.match(region.sessions[0], { active: false, endCause: 'expired' });
});

t.test('nodes are listed and looked up as SSM knows them', async (t) => {
  const { region, ssm } = await startStand(t, {
    nodes: [{ instanceId }, { instanceId: 'mi-0123456789abcdef0', online: false, platformType: 'Windows' }],
    quotas: { DescribeInstanceInformation: 1000 },
  });
  const list = async (input: object = {}) => {
    const answer = await ssm.send(new DescribeInstanceInformationCommand(input));
    return answer.InstanceInformationList!.map((node) => `${node.InstanceId} ${node.ResourceType} ${node.PingStatus}`);
  };
  const [ec2, hybrid] = [`${instanceId} EC2Instance Online`, 'mi-0123456789abcdef0 ManagedInstance ConnectionLost'];
  t.same(await list(), [ec2, hybrid]);
  t.same(await list({ Filters: [{ Key: 'PingStatus', Values: ['Online'] }] }), [ec2]);
  t.same(await list({ InstanceInformationFilterList: [{ key: 'PlatformTypes', valueSet: ['Windows'] }] }), [hybrid]);
  t.same(await list({ Filters: [{ Key: 'InstanceIds', Values: [instanceId] }] }), [ec2]);
  await t.rejects(list({ Filters: [{ Key: 'InstanceIds', Values: ['web-1'] }] }), { name: 'InvalidInstanceId' });
  await t.rejects(list({ Filters: [{ Key: 'Colour', Values: ['red'] }] }), { name: 'InvalidFilterKey' });
  await t.rejects(list({ MaxResults: 4 }), { name: 'ValidationException' });
  const status = async (Target: string) => (await ssm.send(new GetConnectionStatusCommand({ Target }))).Status;
  t.equal(await status(instanceId), 'connected');
  t.equal(await status('mi-0123456789abcdef0'), 'notconnected');
  region.nodes.get('mi-0123456789abcdef0')!.online = true;
  t.equal(await status('mi-0123456789abcdef0'), 'connected');
  t.equal(await status('i-0fffffffffffffff0'), 'notconnected');
});

t.test('what is no call of a known service is told so', async (t) => {
  const { region } = await startStand(t);
  const post = async (target: string, init: RequestInit = {}) => {
    const headers = { 'x-amz-target': target };
    const answer = await fetch(region.endpoint, { method: 'POST', headers, body: '{}', ...init });
    return `${answer.status} ${((await answer.json()) as { __type: string }).__type}`;
  };
  t.equal(await post('AmazonSSM.ListCommands'), '400 UnknownOperationException');
  t.equal(await post('AmazonSSM.constructor'), '400 UnknownOperationException');
  t.equal(await post('Nothing.StartSession'), '400 UnknownOperationException');
  t.equal(await post('AmazonSSM.StartSession'), '400 MissingAuthenticationTokenException');
  const authorization = { 'x-amz-target': 'AmazonSSM.StartSession', authorization: 'AWS4-HMAC-SHA256 Credential=x' };
  t.equal(await post('', { headers: authorization }), '400 IncompleteSignatureException');
});
