// What `keyhole policy` prints, judged by the simulated region's IAM: with it every call that keyhole makes is allowed, and
// without any one of its permissions one is refused, by an error that names what is missing.
import t, { type Test } from 'tap';
import type { AwsContext } from '../../src/aws/context.ts';
import { openAws } from '../../src/aws/own-context.ts';
import { systemClock } from '../../src/clock.ts';
import { presignTunnel } from '../../src/eice/presign.ts';
import { KeyholeError } from '../../src/errors.ts';
import { silent } from '../../src/log.ts';
import { type Policy, type PolicyWish, renderDenial, renderPolicy } from '../../src/policy/policy.ts';
import { useAwsSettings } from '../aws/aws-files.ts';
import { connectLeg, signUpgrade } from '../region/fixture.ts';
import { checkPolicy, type PolicyDocument } from '../region/iam/policy.ts';
import { type Region, startRegion } from '../region/region.ts';

const instance = 'i-0123456789abcdef0';
const node = 'mi-0123456789abcdef0';
const other = 'i-0fedcba9876543210';
const endpointId = 'eice-0123456789abcdef0';
const publicKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPmm8YKCYBm6mHo8ZmAhqPKnPlhjVzBWbBKCfnfwxFvq';
const { signal } = new AbortController();

const wish: PolicyWish = {
  transport: 'ssm',
  push: 'off',
  hostKeys: 'off',
  sessionDocuments: ['AWS-StartSSHSession'],
  start: false,
  names: false,
  inventory: false,
  users: [],
  region: '*',
  account: '*',
  targets: [],
  tags: [],
  endpointId: undefined,
  ports: [22],
  addresses: [],
  maxTunnelSeconds: 3600,
};

interface Stand {
  region: Region;
  aws: AwsContext;
}

/** One call; rejects with `access-denied…` where it is refused. */
type Call = (stand: Stand, target?: string) => Promise<unknown>;

async function start({ aws }: Stand, target = instance, documentName = 'AWS-StartSSHSession') {
  return await aws.ssm.startSession({ target, documentName, parameters: { portNumber: ['22'] } }, signal);
}

const calls: Record<string, Call> = {
  startSession: (stand, target) => start(stand, target),
  forward: (stand, target) => start(stand, target, 'AWS-StartPortForwardingSession'),
  async channel(stand, target) {
    const { streamUrl } = await start(stand, target);
    const leg = await connectLeg(streamUrl, await signUpgrade(stand.region, streamUrl));
    await refusedByHttp(leg, 'ssmmessages:OpenDataChannel');
  },
  async resume(stand, target) {
    const { sessionId } = await start(stand, target);
    await stand.aws.ssm.resumeSession(sessionId, signal);
  },
  async terminate(stand, target) {
    const { sessionId } = await start(stand, target);
    await stand.aws.ssm.terminateSession(sessionId, signal);
  },
  status: ({ aws }, target = instance) => aws.ssm.getConnectionStatus(target, signal),
  push: ({ aws }, target = instance) => aws.pusher(target)!.push(publicKey, 'ec2-user', signal),
  shell: ({ aws }, target = instance) =>
    aws.commands.run(
      { target, documentName: 'AWS-RunShellScript', parameters: { commands: ['id'] }, comment: '' },
      signal,
    ),
  instances: ({ aws }) => aws.ec2.describeInstance(instance),
  names: ({ aws }) => aws.ec2.describeNamedInstances('web', ['running']),
  async endpoints({ aws }) {
    for await (const _ of aws.ec2.describeEndpoints({ id: endpointId }, ['create-complete'])) return;
  },
  async tunnel({ aws, region }, seconds = '3600') {
    const authority = new URL(region.endpoint).host;
    const request = {
      authority,
      instanceConnectEndpointId: endpointId,
      remotePort: 22,
      privateIpAddress: region.nodes.get(instance)!.ipAddress,
      maxTunnelDuration: Number(seconds),
    };
    const path = await presignTunnel(request, {
      region: region.region,
      credentials: await aws.credentials(),
      awsTime: aws.awsTime(),
    });
    await refusedByHttp(
      await connectLeg(`${region.endpoint.replace(/^http/, 'ws')}${path}`),
      'ec2-instance-connect:OpenTunnel',
    );
  },
  console: ({ aws }, target = instance) => aws.ec2.consoleOutput(target, false),
  startInstance: ({ aws }, target = instance) => aws.ec2.startInstance(target),
  nodes: ({ aws }) => aws.nodes.describeNode(instance),
};

async function refusedByHttp(leg: Awaited<ReturnType<typeof connectLeg>>, action: string): Promise<void> {
  const isOpen = leg.socket.readyState === leg.socket.OPEN;
  leg.socket.terminate();
  if (!isOpen) throw new KeyholeError('access-denied', `${action}: ${(await leg.closed).code}`);
}

async function setUp(t: Test, arn?: string): Promise<Stand> {
  const tags = { stage: 'test', 'aws:cloud9:environment': 'abc' };
  const region = await startRegion({
    nodes: [
      { instanceId: instance, tags, ports: { 22: { host: '127.0.0.1', port: 9 } } },
      { instanceId: node, tags },
      { instanceId: other },
    ].map((options) => ({
      ...options,
      publishKeys: () => {},
      runScript: async () => ({ status: 0, stdout: '', stderr: '' }),
    })),
    endpoints: [{ endpointId }],
    ...(arn !== undefined && { accessKeys: [{ accessKeyId: 'AKIAROLE', secretAccessKey: 'secret', arn }] }),
    quotas: { StartSession: 1000, ResumeSession: 1000, SendSSHPublicKey: 1000 },
    commands: { visibleAfterMs: 0, deliveryMs: 0 },
  });
  t.teardown(() => region.stop());
  useAwsSettings(t, {}, region.env);
  const aws = await openAws({ clock: systemClock, log: silent });
  t.teardown(() => aws.close());
  return { region, aws };
}

function use({ region }: Stand, ...policies: Policy[]): void {
  for (const policy of policies) checkPolicy(policy as PolicyDocument);
  region.identities.setPolicies(region.env.AWS_ACCESS_KEY_ID!, policies as PolicyDocument[]);
}

/** The message of the refusal; undefined where the call was allowed, whatever became of it. */
async function refusal(stand: Stand, call: Call, target?: string): Promise<string | undefined> {
  try {
    await call(stand, target);
    return undefined;
  } catch (error) {
    if (error instanceof KeyholeError && error.code.startsWith('access-denied'))
      return `${error.message} ${error.hint}`;
    if (error instanceof KeyholeError) return undefined;
    throw error;
  }
}

/** The policy without one action of one statement. */
function without({ Version, Statement }: Policy, at: number, action: string): Policy {
  const rest = Statement.map((statement, index) =>
    index === at ? { ...statement, Action: statement.Action.filter((name) => name !== action) } : statement,
  );
  return { Version, Statement: rest.filter(({ Action }) => Action.length > 0) };
}

const session = ['startSession', 'channel', 'resume', 'terminate', 'status'];
const uses: Record<string, { wish: Partial<PolicyWish>; calls: string[] }> = {
  'SSM alone': { wish: {}, calls: session },
  'SSM and the endpoint, with a key': {
    wish: { transport: 'auto', push: 'instance-connect' },
    calls: [...session, 'push', 'instances', 'endpoints', 'tunnel'],
  },
  'the endpoint alone': {
    wish: { transport: 'eice', push: 'instance-connect', users: ['ec2-user'], endpointId, addresses: ['0.0.0.0/0'] },
    calls: ['push', 'instances', 'endpoints', 'tunnel'],
  },
  'keys and host keys by documents, local tunnels, names': {
    wish: {
      push: 'ssm-shell',
      hostKeys: 'ssm-document:AWS-RunShellScript',
      sessionDocuments: ['AWS-StartSSHSession', 'AWS-StartPortForwardingSession'],
      names: true,
    },
    calls: [...session, 'forward', 'shell', 'names'],
  },
  'host keys from the console, instances that are started, lists': {
    wish: { hostKeys: 'console-output', start: true, inventory: true },
    calls: [...session, 'console', 'startInstance', 'instances', 'nodes'],
  },
  'these two of this account and region, with a tag': {
    wish: {
      region: 'eu-west-1',
      account: '111122223333',
      targets: [instance, node],
      tags: [{ key: 'stage', value: 'test' }],
      push: 'instance-connect',
      hostKeys: 'console-output',
      start: true,
      users: ['ec2-user'],
    },
    calls: [...session, 'push', 'console', 'startInstance', 'instances'],
  },
};

for (const [name, { wish: given, calls: wanted }] of Object.entries(uses)) {
  t.test(`${name}: what is called is allowed, and each permission is needed`, async (t) => {
    const stand = await setUp(t);
    const policy = renderPolicy({ ...wish, ...given });
    use(stand, policy);
    for (const call of wanted) t.equal(await refusal(stand, calls[call]!), undefined, call);
    for (const call of Object.keys(calls).filter((key) => !wanted.includes(key))) {
      // Names and single instances are asked for by the same action, as are sessions of either kind by its document.
      if (['names', 'instances'].includes(call) && wanted.some((key) => ['names', 'instances'].includes(key))) continue;
      t.type(await refusal(stand, calls[call]!), 'string', `not ${call}`);
    }
    for (const [at, { Sid, Action }] of policy.Statement.entries()) {
      for (const action of Action) {
        use(stand, without(policy, at, action));
        const refusals = await Promise.all(wanted.map((call) => refusal(stand, calls[call]!)));
        t.ok(
          refusals.some((message) => message?.includes(action)),
          `without ${action} of ${Sid} an error names it`,
        );
      }
    }
  });
}

t.test('a role may resume and end what is its own, and nobody else’s', async (t) => {
  const stand = await setUp(t, 'arn:aws:sts::111122223333:assumed-role/ops/alice');
  use(stand, renderPolicy(wish));
  for (const call of session) t.equal(await refusal(stand, calls[call]!), undefined, call);
  const { sessionId } = await start(stand);
  const { region } = stand;
  region.identities.add({
    accessKeyId: 'AKIAOTHER',
    secretAccessKey: 'secret',
    policies: [renderPolicy(wish) as PolicyDocument],
  });
  useAwsSettings(t, {}, region.envFor('AKIAOTHER'));
  const other = await openAws({ clock: systemClock, log: silent });
  t.teardown(() => other.close());
  await t.rejects(other.ssm.resumeSession(sessionId, signal), { code: 'access-denied' });
  await t.rejects(other.ssm.terminateSession(sessionId, signal), { code: 'access-denied' });
});

t.test('targets that are not named, or have not the tag, are not reached', async (t) => {
  const stand = await setUp(t);
  const full = { ...wish, push: 'instance-connect', hostKeys: 'console-output', start: true };
  for (const narrow of [{ targets: [instance, node] }, { tags: [{ key: 'stage', value: 'test' }] }]) {
    use(stand, renderPolicy({ ...full, ...narrow }));
    for (const call of ['startSession', 'status', 'push', 'console', 'startInstance']) {
      t.equal(await refusal(stand, calls[call]!, instance), undefined, `${call} ${JSON.stringify(narrow)}`);
      t.type(await refusal(stand, calls[call]!, other), 'string', `${call} of another`);
    }
    t.equal(await refusal(stand, calls.startSession!, node), undefined, 'a node');
  }
  use(stand, renderPolicy({ ...full, tags: [{ key: 'aws:cloud9:environment', value: '*' }] }));
  t.equal(await refusal(stand, calls.startSession!, instance), undefined, 'a tag with any value, as Cloud9 has it');
  t.type(await refusal(stand, calls.startSession!, other), 'string');
});

t.test('other users, other ports, longer tunnels and other addresses are not allowed', async (t) => {
  const stand = await setUp(t);
  use(stand, renderPolicy({ ...wish, transport: 'eice', push: 'instance-connect', users: ['admin'], ports: [3389] }));
  t.type(await refusal(stand, calls.push!), 'string');
  t.type(await refusal(stand, calls.tunnel!), 'string');
  use(stand, renderPolicy({ ...wish, transport: 'eice', maxTunnelSeconds: 60 }));
  t.type(await refusal(stand, calls.tunnel!), 'string');
  t.equal(await refusal(stand, calls.tunnel!, '60'), undefined);
  use(stand, renderPolicy({ ...wish, transport: 'eice', addresses: ['192.0.2.0/24'] }));
  t.type(await refusal(stand, calls.tunnel!), 'string');
});

t.test('the denial wins over whatever allows ssh, and denies nothing else', async (t) => {
  const stand = await setUp(t);
  const everything: Policy = {
    Version: '2012-10-17',
    Statement: [{ Sid: 'All', Effect: 'Allow', Action: ['*'], Resource: '*' }],
  };
  use(stand, everything, renderDenial(wish));
  t.match(await refusal(stand, calls.startSession!), 'ssm:StartSession');
  for (const call of ['forward', 'status', 'push', 'tunnel', 'shell']) {
    t.equal(await refusal(stand, calls[call]!), undefined, call);
  }
});

t.test('other partitions have other ARNs', async (t) => {
  for (const [region, start] of [
    ['cn-north-1', 'arn:aws-cn:ssm:cn-north-1:*:session/*'],
    ['us-gov-west-1', 'arn:aws-us-gov:ssm:us-gov-west-1:*:session/*'],
    ['eu-west-1', 'arn:aws:ssm:eu-west-1:*:session/*'],
  ] as const) {
    const text = JSON.stringify(renderPolicy({ ...wish, region }));
    t.match(text, start);
    t.match(text, `arn:${start.split(':')[1]}:ssm:${region}:*:document/AWS-StartSSHSession`, 'AWS’s own documents');
  }
});
