// Who gets a tunnel, and how AWS says no.
import { readFileSync } from 'node:fs';
import t from 'tap';
import { instanceId } from '../fixture.ts';
import type { PolicyDocument } from '../iam/policy.ts';
import { connectTunnel, endpointId, type Query, type Signing, startEiceStand } from './fixture.ts';

interface PresignVector {
  name: string;
  inputs: {
    region: string;
    accessKeyId: string;
    secretAccessKey: string;
    sessionToken: string | null;
    time: string;
    dnsName: string;
    privateIpAddress: string;
  };
  url: string;
}

const golden = JSON.parse(readFileSync(new URL('../../vectors/golden-messages.json', import.meta.url), 'utf8')) as {
  eicePresign: { vectors: PresignVector[] };
};

function invalid(parameter: string): object {
  return { ErrorCode: 'InvalidParameter', Message: new RegExp(`^The specified ${parameter} is not valid\\. Specify `) };
}

for (const { name, inputs, url } of golden.eicePresign.vectors) {
  t.test(`the URL of ${name}, as the AWS CLI signed it, opens a tunnel in its minute`, async (t) => {
    const { accessKeyId, secretAccessKey, sessionToken, privateIpAddress: address } = inputs;
    const signedAt = Date.parse(inputs.time.replace(/(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z/, '$1-$2-$3T$4:$5:$6Z'));
    const { region } = await startEiceStand(t, {
      region: inputs.region,
      accessKeys: [{ accessKeyId, secretAccessKey, ...(sessionToken === null ? {} : { sessionToken }) }],
      nodes: [{ instanceId, ...(address.includes(':') ? { ipv6Address: address } : { ipAddress: address }) }],
      endpoints: [{ endpointId, ipAddressType: 'dualstack' }],
    });
    const path = url.slice(url.indexOf('/openTunnel'));
    const dial = (at: number) => {
      region.setClockOffset(at - Date.now());
      return connectTunnel(region, region.endpoint.replace('http', 'ws') + path, { Host: inputs.dnsName });
    };
    t.equal((await dial(signedAt + 55_000)).refusal, undefined);
    t.match((await dial(signedAt + 61_000)).refusal, { status: 403, body: { Message: /^Signature expired/ } });
  });
}

t.test('a signature that is wrong, late, missing or of nobody is refused', async (t) => {
  const { region, open } = await startEiceStand(t);
  const cases: [string, Signing, string][] = [
    ['another secret', { secretAccessKey: 'wrong' }, 'InvalidSignatureException'],
    ['another service', { service: 'ec2' }, 'InvalidSignatureException'],
    ['another host', { host: 'localhost:1' }, 'InvalidSignatureException'],
    ['a key of nobody', { accessKeyId: 'NOBODY' }, 'UnrecognizedClientException'],
    ['61 seconds old', { date: new Date(Date.now() - 61_000) }, 'InvalidSignatureException'],
    ['from the future', { date: new Date(Date.now() + 310_000) }, 'InvalidSignatureException'],
    [
      'another address after it',
      { afterwards: (url) => url.replace('10.0.1.23', '10.0.1.24') },
      'InvalidSignatureException',
    ],
    [
      'a longer time after it',
      { afterwards: (url) => url.replace('Expires=60', 'Expires=600') },
      'InvalidSignatureException',
    ],
    ['no end', { afterwards: (url) => url.replace('Expires=60', 'Expires=never') }, 'IncompleteSignatureException'],
    ['none', { afterwards: (url) => url.replace(/&X-Amz.*/, '') }, 'MissingAuthenticationTokenException'],
  ];
  for (const [what, signing, code] of cases) {
    const { refusal } = await open({}, signing);
    t.match(refusal, { status: 403, body: { ErrorCode: code, Message: String } }, what);
  }
  t.same(
    region.requests.map(({ error, accessKeyId }) => [error, accessKeyId]),
    cases.map(([, , code]) => [code, undefined]),
  );
  t.same(region.tunnels, []);
});

t.test('credentials that ended, and those with a token', async (t) => {
  const { region, open } = await startEiceStand(t, {
    accessKeys: [{ accessKeyId: 'ASIA', secretAccessKey: 's', sessionToken: 'T/+=' }],
  });
  t.equal((await open()).refusal, undefined);
  region.identities.expire('ASIA');
  t.match((await open()).refusal, { status: 403, body: { ErrorCode: 'ExpiredTokenException' } });
});

t.test('every parameter is checked', async (t) => {
  const { region, open } = await startEiceStand(t, {
    nodes: [
      { instanceId, ports: {} },
      { instanceId: 'i-0aaaaaaaaaaaaaaaa', vpcId: 'vpc-2', ipAddress: '10.9.0.1' },
      { instanceId: 'i-0bbbbbbbbbbbbbbbb', state: 'terminated', ipAddress: '10.9.0.2' },
      { instanceId: 'mi-0123456789abcdef0', ipAddress: '10.9.0.3' },
      { instanceId: 'i-0cccccccccccccccc', ipAddress: '10.9.0.4', ipv6Address: '2001:db8::4' },
    ],
  });
  const cases: [Query, string][] = [
    [{ remotePort: '5432' }, 'RemotePort'],
    [{ remotePort: undefined }, 'RemotePort'],
    [{ remotePort: '022' }, 'RemotePort'],
    [{ instanceConnectEndpointId: undefined }, 'InstanceConnectEndpointId'],
    [{ instanceConnectEndpointId: instanceId }, 'InstanceConnectEndpointId'],
    [{ instanceConnectEndpointId: 'eice-0aaaaaaaaaaaaaaaa' }, 'InstanceConnectEndpointId'],
    [{ privateIpAddress: undefined }, 'PrivateIpAddress'],
    [{ privateIpAddress: 'web-1' }, 'PrivateIpAddress'],
    [{ privateIpAddress: '10.9.0.99' }, 'PrivateIpAddress'],
    [{ privateIpAddress: '10.9.0.1' }, 'PrivateIpAddress'],
    [{ privateIpAddress: '10.9.0.2' }, 'PrivateIpAddress'],
    [{ privateIpAddress: '10.9.0.3' }, 'PrivateIpAddress'],
    [{ privateIpAddress: '2001:db8::4' }, 'PrivateIpAddress'],
    [{ maxTunnelDuration: '0' }, 'MaxTunnelDuration'],
    [{ maxTunnelDuration: '3601' }, 'MaxTunnelDuration'],
    [{ maxTunnelDuration: '60s' }, 'MaxTunnelDuration'],
    [{ maxTunnelDuration: '' }, 'MaxTunnelDuration'],
  ];
  for (const [query, parameter] of cases) {
    const { refusal } = await open(query);
    t.match(refusal, { status: 400, requestId: /^[\w-]{36}$/, body: invalid(parameter) }, JSON.stringify(query));
  }
  t.same((await open({ remotePort: '23' })).refusal?.body, {
    ErrorCode: 'InvalidParameter',
    Message:
      'The specified RemotePort is not valid. Specify either 22 or 3389 as the RemotePort and retry your request.',
  });
  t.match((await open({ maxTunnelduration: '60' })).refusal?.body, { Message: /maxTunnelduration/ });
  const endpoint = region.endpoints.get(endpointId)!;
  endpoint.ipAddressType = 'ipv6';
  t.match((await open()).refusal?.body, invalid('PrivateIpAddress'), 'an IPv4 address by an IPv6 endpoint');
  for (const [type, privateIpAddress] of [
    ['ipv6', '2001:db8::4'],
    ['dualstack', '2001:0db8:0::4'],
    ['dualstack', '10.9.0.4'],
  ] as const) {
    endpoint.ipAddressType = type;
    t.equal((await open({ privateIpAddress, maxTunnelDuration: '1' })).refusal, undefined, privateIpAddress);
  }
});

t.test('an endpoint serves in four of its states', async (t) => {
  const { region, open } = await startEiceStand(t);
  const endpoint = region.endpoints.get(endpointId)!;
  for (const state of ['create-complete', 'update-in-progress', 'update-complete', 'update-failed'] as const) {
    endpoint.state = state;
    t.equal((await open()).refusal, undefined, state);
  }
  for (const state of ['create-in-progress', 'create-failed', 'delete-in-progress', 'delete-failed'] as const) {
    endpoint.state = state;
    t.match((await open()).refusal?.body, invalid('InstanceConnectEndpointId'), state);
  }
  endpoint.state = 'create-complete';
  endpoint.account = '999999999999';
  t.match((await open()).refusal?.body, invalid('InstanceConnectEndpointId'), 'another account’s');
});

t.test('twenty connections and no more; one that ends makes room', async (t) => {
  const { region, open } = await startEiceStand(t);
  const clients = [];
  for (let at = 0; at < 20; at += 1) clients.push(await open());
  t.same(
    clients.map(({ refusal }) => refusal),
    clients.map(() => undefined),
  );
  t.match((await open()).refusal, { status: 429, body: { ErrorCode: 'LimitExceeded', Message: /limit of 20/ } });
  clients[7]!.socket.close(1000);
  await clients[7]!.closed;
  t.equal((await open()).refusal, undefined);
  region.endpoints.get(endpointId)!.maxConnections = 21;
  t.equal((await open()).refusal, undefined);
});

t.test('a refusal can be had for the asking', async (t) => {
  const { region, open } = await startEiceStand(t);
  region.apiFaults.fail('OpenTunnel', { code: 'InternalError', message: 'try again', status: 503 });
  t.match((await open()).refusal, { status: 503, body: { ErrorCode: 'InternalError', Message: 'try again' } });
  t.equal((await open()).refusal, undefined);
});

function documented(name: string): PolicyDocument {
  return JSON.parse(readFileSync(new URL(`../iam/policies/${name}.json`, import.meta.url), 'utf8')) as PolicyDocument;
}

const refused = {
  status: 403,
  body: {
    ErrorCode: 'AccessDenied',
    Message:
      'User: arn:aws:iam::111122223333:user/alice is not authorized to perform: ec2-instance-connect:OpenTunnel on ' +
      `resource: arn:aws:ec2:eu-west-1:111122223333:instance-connect-endpoint/${endpointId} because no identity-based ` +
      'policy allows the ec2-instance-connect:OpenTunnel action',
  },
};

t.test('the documented policy holds for a tunnel: port, address, duration', async (t) => {
  const { region, open } = await startEiceStand(t, {
    nodes: [{ instanceId }, { instanceId: 'i-0aaaaaaaaaaaaaaaa', ipAddress: '10.0.1.24' }],
  });
  const key = region.env.AWS_ACCESS_KEY_ID!;
  const policy = documented('open-tunnel-linux');
  region.identities.setPolicies(key, [policy]);
  t.equal((await open()).refusal, undefined, 'a duration that is not sent is 3600');
  t.equal((await open({ maxTunnelDuration: '3600' })).refusal, undefined);
  t.match((await open({ remotePort: '3389' })).refusal, refused);
  t.match((await open({ privateIpAddress: '10.0.1.24' })).refusal, refused);
  const hour = JSON.stringify(policy).replace('"3600"', '"60"');
  region.identities.setPolicies(key, [JSON.parse(hour) as PolicyDocument]);
  t.match((await open()).refusal, refused, 'then less must be asked for');
  t.match((await open({ maxTunnelDuration: '61' })).refusal, refused);
  t.equal((await open({ maxTunnelDuration: '60' })).refusal, undefined);
  region.identities.setPolicies(key, undefined);
  t.equal((await open({ remotePort: '3389' })).refusal, undefined);
});

t.test('the documented policy holds for a tunnel: the caller’s address', async (t) => {
  const { region, open } = await startEiceStand(t, { sourceIp: '192.0.2.200' });
  region.identities.setPolicies(region.env.AWS_ACCESS_KEY_ID!, [documented('open-tunnel-source-range')]);
  t.equal((await open()).refusal, undefined);
  t.match(region.tunnels, [{ sourceIp: '192.0.2.200' }]);
  region.setSourceIp('192.0.3.200');
  t.match((await open()).refusal, refused);
  region.setSourceIp(undefined);
  t.match((await open()).refusal, refused, 'loopback is not in it');
});

t.test('an endpoint’s tags may decide, and a deny wins', async (t) => {
  const { region, open } = await startEiceStand(t, { endpoints: [{ endpointId, tags: { stage: 'test' } }] });
  const key = region.env.AWS_ACCESS_KEY_ID!;
  const byTag = (stage: string): PolicyDocument => ({
    Statement: {
      Effect: 'Allow',
      Action: 'ec2-instance-connect:*',
      Resource: '*',
      Condition: { StringEquals: { 'aws:ResourceTag/stage': stage } },
    },
  });
  region.identities.setPolicies(key, [byTag('test')]);
  t.equal((await open()).refusal, undefined);
  region.identities.setPolicies(key, [byTag('live')]);
  t.match((await open()).refusal, refused);
  region.identities.setPolicies(key, undefined);
  region.identities.denials.push({ action: 'ec2-instance-connect:OpenTunnel' });
  t.match((await open()).refusal, { body: { Message: /with an explicit deny in an identity-based policy$/ } });
});
