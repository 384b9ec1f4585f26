// AWS's documented example policies, in their shapes and with this region's names: what each is for is allowed, and any
// single departure from it is not. Sources: EC2 user guide, "Grant permissions to use EC2 Instance Connect Endpoint" and
// "Grant IAM permissions for EC2 Instance Connect"; Systems Manager user guide, "Sample IAM policies for Session
// Manager", "Additional sample IAM policies", "Allow and control permissions for SSH connections", "Start a session with
// a document by specifying the session documents in IAM policies".
import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import type { Context } from './conditions.ts';
import { type AccessRequest, checkPolicy, decide, type PolicyDocument } from './policy.ts';

const folder = new URL('policies/', import.meta.url);
const account = '111122223333';
const instance = `arn:aws:ec2:eu-west-1:${account}:instance/i-0123456789abcdef0`;
const otherInstance = `arn:aws:ec2:eu-west-1:${account}:instance/i-0fedcba9876543210`;
const endpoint = `arn:aws:ec2:eu-west-1:${account}:instance-connect-endpoint/eice-0123456789abcdef0`;
const shell = `arn:aws:ssm:eu-west-1:${account}:document/SSM-SessionManagerRunShell`;
const ssh = 'arn:aws:ssm:eu-west-1::document/AWS-StartSSHSession';

const caller: Context = {
  'aws:userid': 'AIDASIMULATEDREGION1',
  'aws:username': 'alice',
  'aws:SourceIp': '192.0.2.7',
};

/** One request, and the changes to it that are not allowed: another action, another resource, other keys. */
interface Case {
  action: string;
  resource: string;
  keys?: Context;
  not: { action?: string; resource?: string; keys?: Record<string, string | undefined> }[];
}

function openTunnel(port: string, ...not: Case['not']): Case {
  return {
    action: 'ec2-instance-connect:OpenTunnel',
    resource: endpoint,
    keys: {
      'ec2-instance-connect:remotePort': port,
      'ec2-instance-connect:privateIpAddress': '10.0.1.23',
      'ec2-instance-connect:maxTunnelDuration': '3600',
    },
    not: [
      { action: 'ec2-instance-connect:SendSerialConsoleSSHPublicKey' },
      { resource: endpoint.replace('f0', 'f1') },
      { resource: endpoint.replace('eu-west-1', 'us-east-1') },
      { keys: { 'ec2-instance-connect:remotePort': port === '22' ? '3389' : '22' } },
      { keys: { 'ec2-instance-connect:remotePort': undefined } },
      ...not,
    ],
  };
}

const inRange: Case['not'] = [
  { keys: { 'ec2-instance-connect:privateIpAddress': '10.0.1.21' } },
  { keys: { 'ec2-instance-connect:privateIpAddress': '10.0.1.24' } },
  { keys: { 'ec2-instance-connect:privateIpAddress': '::ffff:10.0.1.23' } },
  { keys: { 'ec2-instance-connect:maxTunnelDuration': '3601' } },
  { keys: { 'ec2-instance-connect:maxTunnelDuration': undefined } },
];

const pushKey: Case = {
  action: 'ec2-instance-connect:SendSSHPublicKey',
  resource: instance,
  keys: { 'ec2:osuser': 'ec2-user' },
  not: [
    { keys: { 'ec2:osuser': 'root' } },
    { keys: { 'ec2:osuser': 'EC2-USER' } },
    { keys: { 'ec2:osuser': undefined } },
  ],
};

const describeBoth: Case[] = ['ec2:DescribeInstances', 'ec2:DescribeInstanceConnectEndpoints'].map((action) => ({
  action,
  resource: '*',
  not: [{ action: 'ec2:TerminateInstances' }],
}));

function ownSession(prefix: string, ...actions: string[]): Case[] {
  const session = (id: string) => `arn:aws:ssm:eu-west-1:${account}:session/${id}`;
  return actions.map((action) => ({
    action,
    resource: session(`${prefix}-0123456789abcdef0`),
    not: [{ resource: session('bob-0123456789abcdef0') }, { action: 'ssm:StartSession' }],
  }));
}

const own = 'AIDASIMULATEDREGION1';
const ends = ['ssm:TerminateSession', 'ssm:ResumeSession'];
const cases: Record<string, Case[]> = {
  'open-tunnel-linux': [openTunnel('22', ...inRange), pushKey, ...describeBoth],
  'open-tunnel-windows': [openTunnel('3389', ...inRange), ...describeBoth],
  'open-tunnel-source-range': [
    openTunnel(
      '22',
      { keys: { 'aws:SourceIp': '192.0.3.7' } },
      { keys: { 'aws:SourceIp': '2001:db8::7' } },
      { keys: { 'aws:SourceIp': undefined } },
    ),
    pushKey,
    ...describeBoth,
  ],
  'send-key-to-instances': [{ ...pushKey, not: [...pushKey.not, { resource: otherInstance }] }],
  'send-key-by-tag': [
    {
      ...pushKey,
      keys: { 'ec2:osuser': 'anybody', 'aws:ResourceTag/stage': 'test' },
      not: [
        { keys: { 'aws:ResourceTag/stage': 'live' } },
        { keys: { 'aws:ResourceTag/stage': undefined } },
        { resource: instance.replace(account, '999999999999') },
      ],
    },
  ],
  'session-end-user': [
    { action: 'ssm:StartSession', resource: instance, not: [{ resource: otherInstance }, { resource: ssh }] },
    { action: 'ssm:StartSession', resource: shell, not: [{ action: 'ssm:UpdateDocument' }] },
    ...ownSession(own, 'ssmmessages:OpenDataChannel', ...ends),
    { action: 'ssm:GetConnectionStatus', resource: instance, not: [{ action: 'ssm:DescribeInstanceInformation' }] },
  ],
  'session-ssh': [
    {
      action: 'ssm:StartSession',
      resource: instance,
      not: [{ resource: otherInstance }, { action: 'ssm:SendCommand' }],
    },
    { action: 'ssm:StartSession', resource: ssh, not: [{ resource: shell }] },
    ...ownSession(own, 'ssmmessages:OpenDataChannel'),
  ],
  'session-no-ssh': [
    { action: 'ssm:StartSession', resource: shell, not: [{ resource: ssh }, { action: 'ec2:DescribeInstances' }] },
  ],
  'session-administrator': [
    {
      action: 'ssm:StartSession',
      resource: otherInstance,
      keys: { 'ssm:resourceTag/stage': 'test' },
      not: [
        { keys: { 'ssm:resourceTag/stage': 'live' } },
        { keys: { 'ssm:resourceTag/stage': undefined } },
        { resource: ssh },
      ],
    },
    { action: 'ssm:StartSession', resource: shell, not: [{ resource: ssh }] },
    ...ownSession(own, 'ssmmessages:OpenDataChannel', ...ends),
  ],
  'session-document-check': [instance, ssh].map((resource) => ({
    action: 'ssm:StartSession',
    resource,
    keys: { 'ssm:SessionDocumentAccessCheck': 'true' },
    not: [{ keys: { 'ssm:SessionDocumentAccessCheck': 'false' } }, { resource: shell }],
  })),
  'session-own-by-name': ownSession('alice', ...ends).map((allowed) => ({
    ...allowed,
    not: [...allowed.not.slice(0, 1), { keys: { 'aws:username': undefined } }, { keys: { 'aws:username': '*' } }],
  })),
  'session-own-by-tag': ends.map((action) => ({
    action,
    resource: `arn:aws:ssm:eu-west-1:${account}:session/alice-0123456789abcdef0`,
    keys: { 'ssm:resourceTag/aws:ssmmessages:session-id': own },
    not: [
      { keys: { 'ssm:resourceTag/aws:ssmmessages:session-id': 'AIDAOFANOTHER' } },
      { keys: { 'ssm:resourceTag/aws:ssmmessages:session-id': undefined } },
    ],
  })),
};

for (const [name, list] of Object.entries(cases)) {
  t.test(`${name} allows what it is for, and no departure from it`, async (t) => {
    const policy = JSON.parse(readFileSync(new URL(`${name}.json`, folder), 'utf8')) as PolicyDocument;
    checkPolicy(policy);
    for (const { not, ...allowed } of list) {
      const base = { ...allowed, context: { ...caller, ...allowed.keys } };
      t.equal(decide([policy], base), 'allowed', `${allowed.action} on ${allowed.resource}`);
      for (const change of not) {
        const changed = withChange(base, change);
        t.not(decide([policy], changed), 'allowed', `${allowed.action}, but ${JSON.stringify(change)}`);
      }
    }
  });
}

t.test('every policy of the folder is replayed', async (t) => {
  t.same(
    readdirSync(folder).sort(),
    Object.keys(cases)
      .map((name) => `${name}.json`)
      .sort(),
  );
});

function withChange(base: AccessRequest, { keys, ...change }: Case['not'][number]): AccessRequest {
  const context = Object.entries({ ...base.context, ...keys }).filter(([, value]) => value !== undefined);
  return { ...base, ...change, context: Object.fromEntries(context) as Context };
}
