// Policies of IAM: what keyhole calls, for a given use of it, and nothing else; and the one that keeps ssh over SSM from
// others. Pure. Sources: Service Authorization Reference (actions, resources and condition keys of Systems Manager, EC2
// Instance Connect and EC2); Systems Manager user guide, "Sample IAM policies for Session Manager"; EC2 user guide, "Grant
// permissions to use EC2 Instance Connect Endpoint".
export interface PolicyWish {
  transport: 'auto' | 'ssm' | 'eice';
  /** As the settings `push` and `host_keys` have them. */
  push: string;
  hostKeys: string;
  /** Names or ARNs of session documents. */
  sessionDocuments: readonly string[];
  /** Whether stopped instances are started. */
  start: boolean;
  /** Whether hosts are called by their Name tag. */
  names: boolean;
  /** Whether `keyhole hosts` and `keyhole doctor` are used to their full extent. */
  inventory: boolean;
  /** Login names that keys may be pushed for; any where there is none. */
  users: readonly string[];
  /** `*` for any. */
  region: string;
  account: string;
  /** `i-…` and `mi-…`; any where there is none. */
  targets: readonly string[];
  /** Tags that targets must have. */
  tags: readonly { key: string; value: string }[];
  endpointId: string | undefined;
  /** Through an endpoint. */
  ports: readonly number[];
  /** Ranges of private addresses that an endpoint may lead to; any where there is none. */
  addresses: readonly string[];
  maxTunnelSeconds: number;
}

export interface Statement {
  Sid: string;
  Effect: 'Allow' | 'Deny';
  Action: string[];
  Resource: string | string[];
  Condition?: Record<string, Record<string, string | string[]>>;
}

export interface Policy {
  Version: '2012-10-17';
  Statement: Statement[];
}

export function renderPolicy(wish: PolicyWish): Policy {
  const statements = [
    ...(wish.transport === 'eice' ? [] : sessions(wish)),
    ...(wish.transport === 'ssm' ? [] : endpoints(wish)),
    ...pushes(wish),
    ...lookups(wish),
  ];
  return { Version: '2012-10-17', Statement: statements };
}

/** Wins over whatever else allows ssh over SSM. */
export function renderDenial({ region, account, sessionDocuments }: PolicyWish): Policy {
  const own = sessionDocuments.map((name) => documentArn(name, { region, account }));
  return {
    Version: '2012-10-17',
    Statement: [{ Sid: 'NoSshOverSsm', Effect: 'Deny', Action: ['ssm:StartSession'], Resource: own }],
  };
}

function sessions(wish: PolicyWish): Statement[] {
  const { sessionDocuments } = wish;
  // Without the key a session with the default document, a shell, would not be asked for its document.
  const checked = { BoolIfExists: { 'ssm:SessionDocumentAccessCheck': 'true' } };
  return [
    allow('StartSession', ['ssm:StartSession'], targetArns(wish), { ...checked, ...tagged('ssm:resourceTag', wish) }),
    allow(
      'WithTheseDocuments',
      ['ssm:StartSession'],
      sessionDocuments.map((name) => documentArn(name, wish)),
      checked,
    ),
    allow('IsItConnected', ['ssm:GetConnectionStatus'], targetArns(wish), tagged('ssm:resourceTag', wish)),
    // Whoever has no token of the session gets nowhere with this alone; that of StartSession is needed too.
    allow('OpenDataChannel', ['ssmmessages:OpenDataChannel'], [arn(wish, 'ssm', 'session/*')]),
    allow('OwnSessions', ['ssm:ResumeSession', 'ssm:TerminateSession'], [arn(wish, 'ssm', 'session/*')], {
      StringEquals: { 'ssm:resourceTag/aws:ssmmessages:session-id': variable('aws:userid') },
    }),
  ];
}

function endpoints(wish: PolicyWish): Statement[] {
  const { endpointId, ports, addresses, maxTunnelSeconds } = wish;
  return [
    allow(
      'OpenTunnel',
      ['ec2-instance-connect:OpenTunnel'],
      [arn(wish, 'ec2', `instance-connect-endpoint/${endpointId ?? '*'}`)],
      {
        NumericEquals: { 'ec2-instance-connect:remotePort': ports.map(String) },
        NumericLessThanEquals: { 'ec2-instance-connect:maxTunnelDuration': String(maxTunnelSeconds) },
        ...(addresses.length > 0 && { IpAddress: { 'ec2-instance-connect:privateIpAddress': [...addresses] } }),
      },
    ),
    allow('FindEndpoints', ['ec2:DescribeInstances', 'ec2:DescribeInstanceConnectEndpoints'], ['*']),
  ];
}

function pushes(wish: PolicyWish): Statement[] {
  const { push, hostKeys, users } = wish;
  const documents = new Set([push, hostKeys].flatMap((way) => commandDocument(way) ?? []));
  const statements: Statement[] = [];
  if (push === 'instance-connect' && instances(wish).length > 0) {
    const condition = {
      ...(users.length > 0 && { StringEquals: { 'ec2:osuser': [...users] } }),
      ...withTags('aws:ResourceTag', wish, users.length > 0 ? { 'ec2:osuser': [...users] } : {}),
    };
    statements.push(allow('PushKey', ['ec2-instance-connect:SendSSHPublicKey'], instances(wish), condition));
  }
  if (documents.size > 0) {
    statements.push(
      allow('RunCommandsOn', ['ssm:SendCommand'], targetArns(wish), tagged('ssm:resourceTag', wish)),
      allow(
        'TheseCommands',
        ['ssm:SendCommand'],
        [...documents].map((name) => documentArn(name, wish)),
      ),
      allow('HowTheyEnded', ['ssm:GetCommandInvocation'], ['*']),
    );
  }
  if (hostKeys === 'console-output' && instances(wish).length > 0) {
    statements.push(allow('ConsoleOutput', ['ec2:GetConsoleOutput'], instances(wish), tagged('aws:ResourceTag', wish)));
  }
  return statements;
}

function lookups(wish: PolicyWish): Statement[] {
  const { transport, start, names, inventory } = wish;
  const statements: Statement[] = [];
  const has = transport !== 'ssm'; // FindEndpoints has it
  if ((start || names || inventory) && !has) {
    statements.push(allow('FindInstances', ['ec2:DescribeInstances'], ['*']));
  }
  if (inventory) statements.push(allow('FindNodes', ['ssm:DescribeInstanceInformation'], ['*']));
  if (start && instances(wish).length > 0) {
    statements.push(allow('StartInstances', ['ec2:StartInstances'], instances(wish), tagged('aws:ResourceTag', wish)));
  }
  return statements;
}

/** The document of Run Command by which keys go; undefined for other ways. */
function commandDocument(way: string): string | undefined {
  if (way === 'ssm-shell') return 'AWS-RunShellScript';
  return /^ssm-document:(.*)$/.exec(way)?.[1];
}

function allow(Sid: string, Action: string[], resources: string[], condition: Statement['Condition'] = {}): Statement {
  const Resource = resources.length === 1 ? resources[0]! : resources;
  return { Sid, Effect: 'Allow', Action, Resource, ...(Object.keys(condition).length > 0 && { Condition: condition }) };
}

type Where = Pick<PolicyWish, 'region' | 'account'>;

/** `aws`, or that of a region elsewhere (AWS general reference, "Partitions"). */
function partition(region: string): string {
  if (region.startsWith('cn-')) return 'aws-cn';
  if (region.startsWith('us-gov-')) return 'aws-us-gov';
  if (region.startsWith('us-iso-')) return 'aws-iso';
  if (region.startsWith('us-isob-')) return 'aws-iso-b';
  if (region.startsWith('eusc-')) return 'aws-eusc';
  return 'aws';
}

function arn({ region, account }: Where, service: string, resource: string): string {
  return `arn:${partition(region)}:${service}:${region}:${account}:${resource}`;
}

/** AWS's own documents belong to no account, and nobody can make one of such a name: AWS's examples say any account. */
function documentArn(name: string, where: Where): string {
  if (name.startsWith('arn:')) return name;
  const account = /^(?:AWS|Amazon)[A-Za-z0-9]*-/.test(name) ? '*' : where.account;
  return arn({ ...where, account }, 'ssm', `document/${name}`);
}

function targetArns(wish: PolicyWish): string[] {
  return [...instances(wish), ...managedInstances(wish)];
}

function instances(wish: PolicyWish): string[] {
  return idsOf(wish, 'i-').map((id) => arn(wish, 'ec2', `instance/${id}`));
}

function managedInstances(wish: PolicyWish): string[] {
  return idsOf(wish, 'mi-').map((id) => arn(wish, 'ssm', `managed-instance/${id}`));
}

function idsOf({ targets }: PolicyWish, prefix: string): string[] {
  return targets.length === 0 ? ['*'] : targets.filter((id) => id.startsWith(prefix));
}

/** A condition on the tags of the resource. `key`: how the service calls them. */
function tagged(key: 'ssm:resourceTag' | 'aws:ResourceTag', wish: PolicyWish): NonNullable<Statement['Condition']> {
  return withTags(key, wish, {});
}

function withTags(
  key: 'ssm:resourceTag' | 'aws:ResourceTag',
  { tags }: PolicyWish,
  others: Record<string, string | string[]>,
): NonNullable<Statement['Condition']> {
  if (tags.length === 0) return {};
  const wanted = tags.map(({ key: tag, value }) => [`${key}/${tag}`, value]);
  // A value with a wildcard, as Cloud9's policy has one for its environments, is compared as a pattern.
  const plain = wanted.filter(([, value]) => !/[*?]/.test(value!));
  const patterns = wanted.filter(([, value]) => /[*?]/.test(value!));
  return {
    ...(plain.length > 0 && { StringEquals: { ...others, ...Object.fromEntries(plain) } }),
    ...(patterns.length > 0 && { StringLike: Object.fromEntries(patterns) }),
  };
}

/** A policy variable, which IAM fills in. */
function variable(name: string): string {
  return `$\{${name}}`;
}
