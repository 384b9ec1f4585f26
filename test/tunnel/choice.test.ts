// The choice between the two ways, by a table: what SSM says, what EC2 says, what the endpoint says, and what comes of it.
import t from 'tap';
import type { Instance, InstanceConnectEndpoint } from '../../src/aws/ec2.ts';
import { objection, type Route } from '../../src/eice/endpoint.ts';
import { findRoute } from '../../src/eice/route.ts';
import { AwsError, ConfigError, type KeyholeError, TransportError } from '../../src/errors.ts';
import { silent } from '../../src/log.ts';
import { type Question, TunnelChoice, type Ways } from '../../src/tunnel/choice.ts';
import { ManualClock } from '../manual-clock.ts';
import { endpoint, FakeEc2, instance } from './aws.ts';

const target = 'i-0123456789abcdef0';
const ssmError = (code: string, message = `SSM: ${code}`) =>
  new AwsError(code, message, { service: 'ssm', apiCode: 'X', hint: 'ask SSM' });
const ec2Error = (code: string) =>
  new AwsError(code, `EC2: ${code}`, { service: 'ec2', apiCode: 'X', hint: 'ask EC2' });
const eiceError = (code: string) => new TransportError(code, `EICE: ${code}`, { hint: 'ask the endpoint' });
const away = ssmError('target-not-connected');

interface Scene {
  target?: string;
  port?: number;
  transport?: Question['transport'];
  /** What StartSession says; undefined: a session. */
  ssm?: KeyholeError | undefined;
  instance?: Partial<Instance> | Error;
  endpoints?: InstanceConnectEndpoint[] | Error;
  /** What the endpoint says; undefined: the target's first byte comes. */
  tunnel?: KeyholeError | undefined;
  fips?: boolean;
  endpointId?: string;
  endpointAuthority?: string;
}

/** A scene that can change, and what was done in it. */
class Stage {
  readonly scene: Scene;
  readonly clock = new ManualClock();
  readonly choice = new TunnelChoice<Route>(this.clock, silent);
  steps: string[] = [];
  route: Route | undefined;
  /** Why the last tunnel went its way. */
  why: string | undefined;

  constructor(scene: Scene = {}) {
    this.scene = { ...scene };
  }

  async open(context = 'caller', signal = new AbortController().signal): Promise<string> {
    const { scene } = this;
    const name = scene.target ?? target;
    const port = scene.port ?? 22;
    const ways: Ways<string, Route> = {
      bySsm: async () => {
        this.steps.push('StartSession');
        if (scene.ssm !== undefined) throw scene.ssm;
        return 'ssm';
      },
      objection: () => objection(name, port),
      findRoute: async () => {
        const { instance: about = {}, endpoints = [endpoint('eice-1')] } = scene;
        const ec2 = new FakeEc2(about instanceof Error ? about : instance(name, about), endpoints);
        const { fips = false, endpointId, endpointAuthority } = scene;
        try {
          return await findRoute(name, { ec2, fips, endpointId, endpointAuthority });
        } finally {
          this.steps.push(...ec2.calls);
        }
      },
      byEndpoint: async (route) => {
        this.steps.push(`OpenTunnel ${route.endpointId} ${route.privateIpAddress}`);
        this.route = route;
        if (scene.tunnel !== undefined) throw scene.tunnel;
        return 'eice';
      },
      chosen: (why) => {
        this.why = why;
      },
    };
    return await this.choice.open({ target: name, transport: scene.transport ?? 'auto', context }, ways, signal);
  }
}

const ec2Calls = ['DescribeInstances', 'DescribeInstanceConnectEndpoints'];
const overEice = [...ec2Calls, 'OpenTunnel eice-1 10.0.1.23'];

interface Row extends Scene {
  name: string;
  /** `ssm`, `eice`, or a code and what the message says. */
  is: 'ssm' | 'eice' | { code: string; says?: RegExp; hint?: RegExp };
  steps: string[];
}

const both = (first: RegExp, second: RegExp) =>
  new RegExp(`${first.source}.*; the other way is closed too: .*${second.source}`);

const rows: Row[] = [
  { name: 'a connected node goes by SSM, and nobody is asked first', is: 'ssm', steps: ['StartSession'] },
  { name: 'a hybrid node goes by SSM', target: 'mi-0123456789abcdef0', is: 'ssm', steps: ['StartSession'] },
  {
    name: 'a hybrid node that is not connected has no other way',
    target: 'mi-0123456789abcdef0',
    ssm: away,
    is: { code: 'target-not-connected', says: /^SSM: target-not-connected$/ },
    steps: ['StartSession'],
  },
  {
    name: 'an instance that is not connected goes by the endpoint of its VPC',
    ssm: away,
    is: 'eice',
    steps: ['StartSession', ...overEice],
  },
  ...['create-complete', 'update-in-progress', 'update-complete', 'update-failed'].map(
    (state): Row => ({
      name: `an endpoint that is ${state} will do`,
      ssm: away,
      endpoints: [endpoint('eice-1', { state })],
      is: 'eice',
      steps: ['StartSession', ...overEice],
    }),
  ),
  ...['create-in-progress', 'create-failed', 'delete-in-progress', 'delete-failed'].map(
    (state): Row => ({
      name: `an endpoint that is ${state} will not`,
      ssm: away,
      endpoints: [endpoint('eice-1', { state })],
      is: { code: 'target-not-connected', says: both(/^SSM: /, /no EC2 Instance Connect Endpoint in vpc-1/) },
      steps: ['StartSession', ...ec2Calls],
    }),
  ),
  {
    name: 'an endpoint in another VPC will not',
    ssm: away,
    endpoints: [endpoint('eice-1', { vpcId: 'vpc-2' })],
    is: { code: 'target-not-connected', says: both(/^SSM: /, /in vpc-1 of i-0123456789abcdef0/), hint: /ask SSM/ },
    steps: ['StartSession', ...ec2Calls],
  },
  {
    name: 'no endpoint at all',
    ssm: away,
    endpoints: [],
    is: { code: 'target-not-connected', says: /there is no EC2 Instance Connect Endpoint in vpc-1/ },
    steps: ['StartSession', ...ec2Calls],
  },
  {
    name: 'the endpoint of the same subnet wins, also where it comes later',
    ssm: away,
    endpoints: [endpoint('eice-2', { subnetId: 'subnet-2' }), endpoint('eice-1')],
    is: 'eice',
    steps: ['StartSession', ...overEice],
  },
  {
    name: 'an endpoint that has its connections already',
    ssm: away,
    tunnel: eiceError('eice-quota'),
    is: { code: 'eice-quota', says: both(/^EICE: eice-quota/, /SSM: target-not-connected/), hint: /ask the endpoint/ },
    steps: ['StartSession', ...overEice],
  },
  {
    name: 'security groups that keep the endpoint out',
    ssm: away,
    tunnel: eiceError('eice-target'),
    is: { code: 'eice-target', says: both(/^EICE: /, /SSM: /) },
    steps: ['StartSession', ...overEice],
  },
  {
    name: 'an instance with IPv6 only, and an endpoint for IPv4',
    ssm: away,
    instance: { ipv4: undefined, ipv6: '2600:1f13::1' },
    is: {
      code: 'target-not-connected',
      says: both(/^SSM: /, /an address of IPv6 only, and endpoint eice-1 is of type ipv4/),
    },
    steps: ['StartSession', ...ec2Calls],
  },
  ...(['ipv6', 'dualstack'] as const).map(
    (ipAddressType): Row => ({
      name: `an instance with IPv6 only, and an endpoint that is ${ipAddressType}`,
      ssm: away,
      instance: { ipv4: undefined, ipv6: '2600:1f13::1' },
      endpoints: [endpoint('eice-1', { ipAddressType })],
      is: 'eice',
      steps: ['StartSession', ...ec2Calls, 'OpenTunnel eice-1 2600:1f13::1'],
    }),
  ),
  {
    name: 'an endpoint for IPv6, and an instance that has both',
    ssm: away,
    instance: { ipv6: '2600:1f13::1' },
    endpoints: [endpoint('eice-1', { ipAddressType: 'ipv6' })],
    is: 'eice',
    steps: ['StartSession', ...ec2Calls, 'OpenTunnel eice-1 2600:1f13::1'],
  },
  {
    name: 'an endpoint for both, and an instance that has both: IPv4',
    ssm: away,
    instance: { ipv6: '2600:1f13::1' },
    endpoints: [endpoint('eice-1', { ipAddressType: 'dualstack' })],
    is: 'eice',
    steps: ['StartSession', ...overEice],
  },
  ...['stopped', 'stopping', 'shutting-down', 'terminated'].map(
    (state): Row => ({
      name: `an instance that is ${state}`,
      ssm: away,
      instance: { state },
      is: { code: 'instance-stopped', says: new RegExp(`^${target} is ${state}$`) },
      steps: ['StartSession', 'DescribeInstances'],
    }),
  ),
  {
    name: 'an instance that EC2 does not know',
    ssm: away,
    instance: ec2Error('instance-unknown'),
    is: { code: 'target-not-connected', says: both(/^SSM: /, /EC2: instance-unknown/) },
    steps: ['StartSession', 'DescribeInstances'],
  },
  {
    name: 'port 5432 goes by SSM',
    port: 5432,
    is: 'ssm',
    steps: ['StartSession'],
  },
  {
    name: 'port 5432 of an instance that is not connected has no other way, and EC2 is not asked',
    port: 5432,
    ssm: away,
    is: { code: 'target-not-connected', says: both(/^SSM: /, /does not lead to port 5432/) },
    steps: ['StartSession'],
  },
  {
    name: 'port 3389 goes by the endpoint too',
    port: 3389,
    ssm: away,
    is: 'eice',
    steps: ['StartSession', ...overEice],
  },
  {
    name: 'StartSession denied, and an endpoint: IAM may allow the one and not the other',
    ssm: ssmError('access-denied-target'),
    is: 'eice',
    steps: ['StartSession', ...overEice],
  },
  {
    name: 'StartSession denied, and no endpoint',
    ssm: ssmError('access-denied-document'),
    endpoints: [],
    is: { code: 'access-denied-document', says: both(/^SSM: access-denied-document/, /no EC2 Instance/) },
    steps: ['StartSession', ...ec2Calls],
  },
  {
    name: 'DescribeInstances denied',
    ssm: away,
    instance: ec2Error('access-denied'),
    is: { code: 'target-not-connected', says: both(/^SSM: target-not-connected/, /EC2: access-denied/) },
    steps: ['StartSession', 'DescribeInstances'],
  },
  {
    name: 'DescribeInstanceConnectEndpoints denied',
    ssm: away,
    endpoints: ec2Error('access-denied'),
    is: { code: 'target-not-connected', says: both(/^SSM: target-not-connected/, /EC2: access-denied/) },
    steps: ['StartSession', ...ec2Calls],
  },
  {
    name: 'OpenTunnel denied',
    ssm: away,
    tunnel: eiceError('access-denied'),
    is: { code: 'access-denied', says: both(/^EICE: access-denied/, /SSM: /) },
    steps: ['StartSession', ...overEice],
  },
  {
    name: 'all denied',
    ssm: ssmError('access-denied-target'),
    instance: ec2Error('access-denied'),
    is: { code: 'access-denied-target', says: both(/^SSM: access-denied-target/, /EC2: access-denied/) },
    steps: ['StartSession', 'DescribeInstances'],
  },
  ...['credentials-expired', 'throttled', 'endpoint-unreachable', 'gateway-refused', 'port-closed'].map(
    (code): Row => ({
      name: `a failure that says nothing of the other way: ${code}`,
      ssm: ssmError(code),
      is: { code, says: /^SSM: [a-z-]+$/ },
      steps: ['StartSession'],
    }),
  ),
  {
    name: 'FIPS asked for, and the endpoint has the name',
    ssm: away,
    fips: true,
    endpoints: [endpoint('eice-1', { fipsDnsName: 'fips.example.com' })],
    is: 'eice',
    steps: ['StartSession', ...overEice],
  },
  {
    name: 'FIPS asked for, and the endpoint has no name for it',
    ssm: away,
    fips: true,
    is: { code: 'target-not-connected', says: both(/^SSM: /, /eice-1 has no name for FIPS/) },
    steps: ['StartSession', ...ec2Calls],
  },

  { name: 'ssm wanted', transport: 'ssm', is: 'ssm', steps: ['StartSession'] },
  {
    name: 'ssm wanted: no other way is looked for',
    transport: 'ssm',
    ssm: away,
    is: { code: 'target-not-connected', says: /^SSM: target-not-connected$/ },
    steps: ['StartSession'],
  },
  { name: 'eice wanted: SSM is not asked', transport: 'eice', is: 'eice', steps: overEice },
  {
    name: 'eice wanted, port 5432',
    transport: 'eice',
    port: 5432,
    is: { code: 'eice-port', says: /port 5432/, hint: /22 and 3389/ },
    steps: [],
  },
  {
    name: 'eice wanted, hybrid node',
    transport: 'eice',
    target: 'mi-0123456789abcdef0',
    is: { code: 'eice-node', says: /mi-0123456789abcdef0/ },
    steps: [],
  },
  {
    name: 'eice wanted, stopped',
    transport: 'eice',
    instance: { state: 'stopped' },
    is: { code: 'instance-stopped', hint: /start-instances --instance-ids i-0123456789abcdef0/ },
    steps: ['DescribeInstances'],
  },
  {
    name: 'eice wanted, no endpoint',
    transport: 'eice',
    endpoints: [],
    is: { code: 'eice-no-endpoint', says: /^there is no EC2 Instance Connect Endpoint in vpc-1/ },
    steps: ec2Calls,
  },
  {
    name: 'eice wanted, no name for FIPS',
    transport: 'eice',
    fips: true,
    is: { code: 'eice-no-fips' },
    steps: ec2Calls,
  },
  {
    name: 'eice wanted, DescribeInstances denied',
    transport: 'eice',
    instance: ec2Error('access-denied'),
    is: { code: 'access-denied', says: /^EC2: access-denied$/ },
    steps: ['DescribeInstances'],
  },
  {
    name: 'eice wanted, quota full',
    transport: 'eice',
    tunnel: eiceError('eice-quota'),
    is: { code: 'eice-quota', says: /^EICE: eice-quota$/ },
    steps: overEice,
  },
  {
    name: 'a known endpoint is taken as it is, in whatever VPC',
    transport: 'eice',
    endpointId: 'eice-9',
    endpoints: [endpoint('eice-1'), endpoint('eice-9', { vpcId: 'vpc-9' })],
    is: 'eice',
    steps: [...ec2Calls, 'OpenTunnel eice-9 10.0.1.23'],
  },
  {
    name: 'a known endpoint that does not exist',
    transport: 'eice',
    endpointId: 'eice-9',
    is: { code: 'eice-no-endpoint', says: /no EC2 Instance Connect Endpoint eice-9/ },
    steps: ec2Calls,
  },
  {
    name: 'a known endpoint and its name: EC2 is asked for the instance only',
    transport: 'eice',
    endpointId: 'eice-9',
    endpointAuthority: 'vpce.example.com:8443',
    is: 'eice',
    steps: ['DescribeInstances', 'OpenTunnel eice-9 10.0.1.23'],
  },
  {
    name: 'a known name without the id of the endpoint',
    ssm: away,
    endpointAuthority: 'vpce.example.com',
    is: { code: 'bad-setting', says: /^eice_endpoint is set without eice_endpoint_id$/ },
    steps: ['StartSession'],
  },
];

for (const { name, is, steps, ...scene } of rows) {
  t.test(name, async (t) => {
    const stage = new Stage(scene);
    if (typeof is === 'string') t.equal(await stage.open(), is);
    else {
      await t.rejects(stage.open(), {
        code: is.code,
        ...(is.says && { message: is.says }),
        ...(is.hint && { hint: is.hint }),
      });
    }
    t.strictSame(stage.steps, steps, 'what was asked, in this order');
  });
}

t.test(
  'the authority of a route is the DNS name of the endpoint, the FIPS name, or what the settings say',
  async (t) => {
    const table: [Scene, string][] = [
      [{}, 'eice-1.ec2-instance-connect-endpoint.eu-west-1.amazonaws.com'],
      [{ fips: true, endpoints: [endpoint('eice-1', { fipsDnsName: 'fips.example.com' })] }, 'fips.example.com'],
      [{ endpointId: 'eice-1', endpointAuthority: 'vpce.example.com:8443' }, 'vpce.example.com:8443'],
      [{ endpointId: 'eice-1', endpointAuthority: 'vpce.example.com:8443', fips: true }, 'vpce.example.com:8443'],
    ];
    for (const [scene, authority] of table) {
      const stage = new Stage({ transport: 'eice', ...scene });
      await stage.open();
      t.equal(stage.route!.authority, authority);
    }
  },
);

t.test('where SSM refused and an endpoint led there, neither SSM nor EC2 is asked for five minutes', async (t) => {
  const stage = new Stage({ ssm: away });
  await stage.open();
  stage.steps = [];
  await stage.clock.advance(5 * 60_000 - 1);
  t.equal(await stage.open(), 'eice');
  t.strictSame(stage.steps, ['OpenTunnel eice-1 10.0.1.23']);
  stage.steps = [];
  stage.scene.ssm = undefined;
  await stage.clock.advance(1);
  t.equal(await stage.open(), 'ssm', 'an agent that has come back is noticed then');
  t.strictSame(stage.steps, ['StartSession']);
});

t.test('what one caller was refused, another is not', async (t) => {
  const stage = new Stage({ ssm: away });
  await stage.open('one');
  stage.steps = [];
  await stage.open('another');
  t.strictSame(stage.steps, ['StartSession', ...overEice]);
});

t.test('port 5432 is asked for at SSM also where an endpoint is known', async (t) => {
  const stage = new Stage({ ssm: away });
  await stage.open();
  stage.steps = [];
  stage.scene.port = 5432;
  stage.scene.ssm = undefined;
  t.equal(await stage.open(), 'ssm');
  t.strictSame(stage.steps, ['StartSession']);
});

t.test('a known endpoint that fails is reconsidered at once, within the same connection', async (t) => {
  const stage = new Stage({ ssm: away });
  await stage.open();
  stage.steps = [];
  stage.scene.ssm = undefined;
  stage.scene.tunnel = eiceError('eice-quota');
  t.equal(await stage.open(), 'ssm');
  t.strictSame(stage.steps, ['OpenTunnel eice-1 10.0.1.23', 'StartSession']);

  stage.steps = [];
  await stage.open();
  t.strictSame(stage.steps, ['StartSession'], 'and is not known any more');
});

t.test('a known endpoint that was replaced is found again', async (t) => {
  const stage = new Stage({ ssm: away });
  await stage.open();
  stage.steps = [];
  stage.scene.endpoints = [endpoint('eice-2')];
  const { open } = stage;
  let isGone = true;
  Object.defineProperty(stage.scene, 'tunnel', {
    get: () => (isGone && stage.route?.endpointId === 'eice-1' ? eiceError('eice-parameter') : undefined),
  });
  t.equal(await open.call(stage), 'eice');
  isGone = false;
  t.strictSame(stage.steps, [
    'OpenTunnel eice-1 10.0.1.23',
    'StartSession',
    ...ec2Calls,
    'OpenTunnel eice-2 10.0.1.23',
  ]);
});

t.test('where both fail, nothing is remembered', async (t) => {
  const stage = new Stage({ ssm: away, tunnel: eiceError('eice-target') });
  await t.rejects(stage.open(), { code: 'eice-target' });
  stage.scene.ssm = undefined;
  t.equal(await stage.open(), 'ssm');
});

t.test('a target that stays silent has taken the time that a second look would need', async (t) => {
  const stage = new Stage({ ssm: away });
  await stage.open();
  stage.steps = [];
  stage.scene.tunnel = eiceError('no-answer');
  await t.rejects(stage.open(), { code: 'no-answer' });
  t.strictSame(stage.steps, ['OpenTunnel eice-1 10.0.1.23']);
  stage.scene.ssm = undefined;
  t.equal(await stage.open(), 'ssm', 'but the next connection looks');
});

t.test('connections that come together ask EC2 once', async (t) => {
  const stage = new Stage({ transport: 'eice' });
  t.strictSame(await Promise.all([stage.open(), stage.open(), stage.open()]), ['eice', 'eice', 'eice']);
  t.strictSame(stage.steps, [...ec2Calls, ...Array(3).fill('OpenTunnel eice-1 10.0.1.23')]);
  stage.steps = [];
  stage.scene.endpoints = ec2Error('throttled');
  const failures = await Promise.allSettled([stage.open(), stage.open()]);
  t.match(failures, [{ reason: { code: 'throttled' } }, { reason: { code: 'throttled' } }]);
  t.strictSame(stage.steps, ec2Calls);
});

t.test('a caller that gives up does not take the others’ answer with it', async (t) => {
  const stage = new Stage({ transport: 'eice' });
  const abort = new AbortController();
  const gone = stage.open('caller', abort.signal);
  const waiting = stage.open();
  const reason = new TransportError('deadline', 'over');
  abort.abort(reason);
  await t.rejects(gone, reason);
  t.equal(await waiting, 'eice');
});

t.test('giving up is the reason that is told, not what it led to', async (t) => {
  const stage = new Stage({ ssm: away });
  const abort = new AbortController();
  abort.abort(new TransportError('deadline', 'over'));
  await t.rejects(stage.open('caller', abort.signal), { message: 'SSM: target-not-connected' });
  t.strictSame(stage.steps, ['StartSession'], 'and no other way is tried');
});

t.test('a bug is not dressed up as a refusal', async (t) => {
  const bug = new TypeError('a bug');
  const stage = new Stage({ ssm: away, instance: bug });
  await t.rejects(stage.open(), bug);
  const second = new Stage({ ssm: away, tunnel: bug as unknown as KeyholeError });
  await t.rejects(second.open(), bug);
});

t.test('a wrong setting is said as such', async (t) => {
  const stage = new Stage({ ssm: away, tunnel: new ConfigError('bad-proxy', 'wrong') });
  await t.rejects(stage.open(), { code: 'bad-proxy', message: 'wrong', exitStatus: 2 });
});

t.test('why a tunnel goes its way is told once it is open', async (t) => {
  const table: [Scene, string | undefined][] = [
    [{}, 'SSM takes the instance'],
    [{ target: 'mi-0123456789abcdef0' }, 'SSM alone reaches nodes (mi-…)'],
    [{ transport: 'ssm' }, 'asked for: transport = ssm'],
    [{ transport: 'eice' }, 'asked for: transport = eice'],
    [{ ssm: away }, 'SSM: target-not-connected'],
    [{ ssm: away, tunnel: eiceError('eice-quota') }, undefined],
  ];
  for (const [scene, why] of table) {
    const stage = new Stage(scene);
    await stage.open().catch(() => {});
    t.equal(stage.why, why, JSON.stringify(scene));
  }
  const stage = new Stage({ ssm: away });
  await stage.open();
  stage.why = undefined;
  await stage.open();
  t.equal(stage.why, 'SSM: target-not-connected', 'also where it is remembered');
});
