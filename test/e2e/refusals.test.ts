// What can be wrong with what was asked for, and with what AWS answers: each is told in one line with a hint, to the
// letter, with its exit status, within bounds, and nothing is left: no process, no session.
import t, { type Test } from 'tap';
import { type Bench, type BenchOptions, instanceId, openBench, type RunOptions } from './fixture.ts';

interface Refusal extends BenchOptions {
  name: string;
  /** Default: port 22 of the instance. */
  operands?: string[];
  arrange?(bench: Bench): void;
  /** Of keyhole; undefined takes a variable away. */
  run?: RunOptions['env'];
  status: 1 | 2;
  /** stderr without the prefixes. */
  says: string;
  hint?: string;
  /** How many sessions may have been started, and ended; default none. */
  sessions?: number;
  /** Calls that AWS saw; default any. */
  calls?: string[];
}

async function refused(t: Test, refusal: Refusal): Promise<void> {
  const { operands = [instanceId, '22'], status, says, hint, run = {}, sessions = 0, calls } = refusal;
  const bench = await openBench(t, refusal);
  refusal.arrange?.(bench);
  // stdin stays open: the end must not need its end.
  // The other transport has refusals of its own.
  const env = { KEYHOLE_TRANSPORT: 'ssm', ...run };
  const result = await bench.proxy(operands, { input: 'open', env, timeoutMs: 20_000 });
  // A failure names its host, what was used wrongly does not.
  const named = status === 2 || says.includes(operands[0]!) ? says : `${operands[0]}: ${says}`;
  const expected = `keyhole: ${named}\n${hint === undefined ? '' : `keyhole: hint: ${hint}\n`}`;
  t.equal(hide(result.stderr, bench), expected);
  t.match(result, { status, signal: null, text: '' });
  await bench.gone();
  t.equal(bench.region.sessions.length, sessions, `${sessions} sessions were started`);
  if (calls !== undefined) {
    const seen = bench.region.requests.map(({ action }) => action);
    t.strictSame(seen, calls, 'what AWS was asked');
  }
}

/** Names that differ from run to run. */
function hide(stderr: string, { region }: Bench): string {
  let text = stderr.replaceAll(new URL(region.endpoint).host, 'ENDPOINT');
  for (const { sessionId } of region.sessions) text = text.replaceAll(sessionId, 'SESSION');
  return text;
}

const grammar =
  'a host is i-… (8 or 17 hex digits) or mi-… (17), then optionally .REGION and .PROFILE; or NAME.ec2, NAME.REGION.PROFILE.ec2 by the Name tag';
const host = (name: string): Refusal => ({
  name: `host ${JSON.stringify(name)}`,
  operands: [name, '22'],
  status: 2,
  says: `${JSON.stringify(name)} is not a host that keyhole knows`,
  hint: grammar,
  calls: [],
});
const port = (text: string): Refusal => ({
  name: `port ${JSON.stringify(text)}`,
  operands: [instanceId, text],
  status: 2,
  says: `${JSON.stringify(text).replace(/[^ -~]/g, (char) => `\\u0${char.charCodeAt(0).toString(16)}`)} is not a port`,
  hint: 'a port is a number from 1 to 65535',
  calls: [],
});

const usage: Refusal[] = [
  ...[
    'i-',
    'i-0123',
    'i-0123456789ABCDEF0',
    'mi-01234567',
    'example.com',
    '',
    `${instanceId}\n`,
    `${instanceId};id`,
  ].map(host),
  ...['-oProxyCommand=x', '--', `-${instanceId}`, `../${instanceId}`, `${instanceId}.`, `${instanceId}..prod`].map(
    host,
  ),
  ...['0', '70000', '65536', '22;id', '', '-1', '2 2', '0x16', '٢٢'].map(port),
];

const user = 'arn:aws:iam::111122223333:user/alice';
const expired = {
  accessKeyId: 'ASIAEXPIREDREGION001',
  secretAccessKey: 'simulated',
  sessionToken: 'simulated token',
  expiresAt: Date.now() - 1_000,
};
const without = { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined };
const deny = (action: string, resource: string): Pick<BenchOptions, 'region'> => ({
  region: { denials: [{ action, resource }] },
});
const elsewhere = (streamUrl: string, why: string): Refusal => ({
  name: `a StreamUrl that points elsewhere: ${streamUrl}`,
  region: { streamUrl: () => streamUrl },
  status: 1,
  says: `the stream URL that AWS answered is not used: ${why}`,
  hint: 'if this host is yours (a VPC endpoint behind a name of its own), allow it with stream_hosts',
  sessions: 1,
  calls: ['StartSession', 'TerminateSession'],
});

const refusals: Refusal[] = [
  {
    name: 'no credentials',
    run: without,
    status: 1,
    says: 'there are no AWS credentials for profile default',
    hint: 'set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run aws configure',
    calls: [],
  },
  {
    name: 'no region',
    run: { AWS_REGION: undefined, AWS_DEFAULT_REGION: undefined },
    status: 2,
    says: 'no AWS region is set',
    hint: 'name it in the host (i-….eu-west-1), in AWS_REGION, or with aws configure set region',
    calls: [],
  },
  {
    name: 'a profile that does not exist',
    run: { AWS_PROFILE: 'prod' },
    status: 2,
    says: 'AWS profile prod is not in the AWS configuration files',
    hint: 'aws configure list-profiles shows what is there',
    calls: [],
  },
  {
    name: 'expired credentials',
    region: { accessKeys: [expired] },
    status: 1,
    says: 'the AWS credentials from the environment have expired',
    hint: 'get new ones',
  },
  {
    name: 'credentials that AWS does not know',
    run: { AWS_ACCESS_KEY_ID: 'AKIANOBODYSACCESSKEY' },
    status: 1,
    says: 'AWS in eu-west-1 does not know the credentials from the environment',
    hint: 'does aws sts get-caller-identity work with them, and is the region enabled in this account?',
    calls: ['StartSession'],
  },
  {
    name: 'a secret that is not the key’s',
    run: { AWS_SECRET_ACCESS_KEY: 'another' },
    status: 1,
    says: 'AWS refuses the signature made with the credentials from the environment',
    hint: 'the secret access key does not belong to the access key id',
    calls: ['StartSession'],
  },
  {
    name: 'a region in which the instance is not',
    region: { region: 'us-east-1' },
    operands: ['i-0123456789abcdef1', '22'],
    status: 1,
    says: 'i-0123456789abcdef1 is not connected to Systems Manager in us-east-1 (credentials from the environment)',
    hint: 'is it running, in this region and account, with the SSM agent up and a role with AmazonSSMManagedInstanceCore?',
    calls: ['StartSession', 'DescribeInstances'],
  },
  {
    name: 'a node that is not connected',
    node: { online: false },
    run: { KEYHOLE_WAIT: '1s' },
    status: 1,
    says: 'i-0123456789abcdef0 is not connected to Systems Manager in eu-west-1 (credentials from the environment), also after 1s',
    hint: 'is it running, in this region and account, with the SSM agent up and a role with AmazonSSMManagedInstanceCore?',
  },
  {
    name: 'StartSession denied on the instance',
    ...deny('ssm:StartSession', '*:instance/*'),
    status: 1,
    says: `AWS denies ssm:StartSession on i-0123456789abcdef0 to ${user}, by an explicit deny`,
    hint: 'its policy must allow ssm:StartSession on arn:aws:ec2:eu-west-1:111122223333:instance/i-0123456789abcdef0',
    calls: ['StartSession'],
  },
  {
    name: 'StartSession denied on the document',
    ...deny('ssm:StartSession', '*:document/*'),
    status: 1,
    says: `AWS denies ssm:StartSession with document AWS-StartSSHSession to ${user}, by an explicit deny`,
    hint: 'its policy must allow ssm:StartSession on arn:aws:ssm:eu-west-1::document/AWS-StartSSHSession',
    calls: ['StartSession'],
  },
  {
    name: 'OpenDataChannel denied',
    ...deny('ssmmessages:OpenDataChannel', '*'),
    status: 1,
    says: `ENDPOINT refused the data channel with HTTP 403: User: ${user} is not authorized to perform: ssmmessages:OpenDataChannel on resource: arn:aws:ssm:eu-west-1:111122223333:session/SESSION with an explicit deny in an identity-based policy`,
    hint: 'ssmmessages:OpenDataChannel must be allowed on the session, and the clock be right',
    sessions: 1,
    calls: ['StartSession', 'OpenDataChannel', 'TerminateSession'],
  },
  {
    name: 'a document that does not exist',
    run: { KEYHOLE_SSH_DOCUMENT: 'Our-Document' },
    status: 1,
    says: 'there is no session document Our-Document in eu-west-1',
    hint: 'check the setting ssh_document; AWS-StartSSHSession exists in every region',
    calls: ['StartSession'],
  },
  {
    name: 'throttling that does not end',
    run: { KEYHOLE_DEADLINE: '4s' },
    arrange: ({ region }) => region.apiFaults.fail('StartSession', { code: 'ThrottlingException', times: 1_000 }),
    status: 1,
    says: 'AWS is throttling StartSession in eu-west-1',
    hint: 'too many sessions are started at once in this account and region (quota: 3 per second)',
  },
  {
    name: 'a token that the gateway refuses',
    region: { sessions: { tokenLifetimeMs: 0 } },
    status: 1,
    says: 'AWS closed with code 1008 instead of opening the data channel: OpenDataChannel: the token is not valid',
    hint: 'ssmmessages:OpenDataChannel must be allowed, and client_version be one that AWS still accepts',
    sessions: 1,
  },
  elsewhere('wss://evil.example.com/v1/data-channel/x', 'evil.example.com is not a Session Manager host'),
  elsewhere('ws://192.0.2.1/v1/data-channel/x', 'it is not encrypted'),
  elsewhere('https://127.0.0.1/', 'its scheme is https:'),
  elsewhere(
    'wss://ssmmessages.eu-west-1.amazonaws.com.evil.example/',
    'ssmmessages.eu-west-1.amazonaws.com.evil.example is not a Session Manager host',
  ),
  {
    name: 'nothing listens on the port',
    operands: [instanceId, '23'],
    run: { KEYHOLE_FIRST_BYTE_TIMEOUT: '2s' },
    status: 1,
    says: 'nothing answers on port 23 of i-0123456789abcdef0 (2 s)',
    hint: 'is sshd running on the target, and on this port?',
    sessions: 1,
  },
  {
    name: 'nothing listens on the port, and the agent says so',
    operands: [instanceId, '23'],
    node: { agent: { refusedPortDelayMs: 100 } },
    status: 1,
    says: 'i-0123456789abcdef0 ended the session before it sent anything: document process failed unexpectedly: ipc messaging received timeout signal , check [ssm-document-worker]/[ssm-session-worker] log for crash reason',
    hint: 'is sshd running on the target, and on this port?',
    sessions: 1,
  },
  {
    name: 'a node that says nothing',
    region: { faults: { down: { lose: 1 } } },
    run: { KEYHOLE_DEADLINE: '3s' },
    status: 1,
    says: 'no connection to i-0123456789abcdef0 within 3s',
    hint: 'the deadline can be raised with KEYHOLE_DEADLINE or deadline in the configuration file',
    sessions: 1,
    calls: ['StartSession', 'OpenDataChannel', 'TerminateSession'],
  },
  {
    name: 'no way to AWS',
    run: { AWS_ENDPOINT_URL_SSM: 'http://127.0.0.1:9' },
    status: 1,
    says: '127.0.0.1:9 cannot be reached (ECONNREFUSED)',
    hint: 'is the network up, and is port 443 open to it?',
    calls: [],
  },
];

t.jobs = 4;
for (const refusal of [...usage, ...refusals]) {
  t.test(refusal.name, { buffered: true }, (t) => refused(t, refusal));
}

t.test('a clock that is an hour off is corrected by AWS’s own, for the API and the websocket', async (t) => {
  for (const clockOffsetMs of [3_600_000, -3_600_000]) {
    const bench = await openBench(t, { region: { clockOffsetMs } });
    t.match(await bench.ssh([instanceId, 'echo works']), { status: 0, text: 'works\n', stderr: '' });
    const [signed, ...more] = bench.region.requests.filter(({ action }) => action === 'OpenDataChannel');
    t.match(signed, { status: 101, accessKeyId: bench.env.AWS_ACCESS_KEY_ID });
    t.strictSame(more, []);
    await bench.gone();
  }
});

t.test('ten at once under the quota of three per second, after ten refusals, all get through', async (t) => {
  const bench = await openBench(t);
  bench.region.apiFaults.fail('StartSession', { code: 'ThrottlingException', message: 'Rate exceeded', times: 10 });
  // keyhole's own deadline of 14 s is the bound: a tunnel that comes later is an error.
  const results = await Promise.all(Array.from({ length: 10 }, () => bench.ssh([instanceId, 'echo works'])));
  for (const result of results) t.match(result, { status: 0, text: 'works\n', stderr: '' });
  await bench.gone();
});
