// Asked by AWS's own SDK. Whether the instance then admits the key: sshd/pushed-keys.test.ts.
import { generateKeyPairSync } from 'node:crypto';
import { EC2InstanceConnectClient, SendSSHPublicKeyCommand } from '@aws-sdk/client-ec2-instance-connect';
import ssh2 from 'ssh2';
import t, { type Test } from 'tap';
import { ManualClock } from '../../manual-clock.ts';
import { clientConfig, instanceId, startStand } from '../fixture.ts';
import { KeyPushes } from '../key-pushes.ts';
import type { RegionOptions } from '../options.ts';

const publicKey = ssh2.utils.generateKeyPairSync('ed25519').public.trim().split(' ').slice(0, 2).join(' ');

interface Given {
  InstanceId?: string | undefined;
  InstanceOSUser?: string;
  SSHPublicKey?: string;
  AvailabilityZone?: string;
}

async function open(t: Test, options: RegionOptions = {}) {
  const { region } = await startStand(t, options);
  const client = new EC2InstanceConnectClient(clientConfig(region));
  t.teardown(() => client.destroy());
  const push = (given: Given = {}) =>
    client.send(
      new SendSSHPublicKeyCommand({
        InstanceId: instanceId,
        InstanceOSUser: 'ec2-user',
        SSHPublicKey: publicKey,
        ...given,
      }),
    );
  return { region, push };
}

function rsaKey(modulusLength: number): string {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength });
  const { e, n } = publicKey.export({ format: 'jwk' });
  // RFC 4251 section 5: an mpint with its highest bit set has a zero byte in front.
  const modulus = Buffer.concat([Buffer.from([0]), Buffer.from(n!, 'base64url')]);
  const fields = [Buffer.from('ssh-rsa'), Buffer.from(e!, 'base64url'), modulus];
  const length = (size: number) => Buffer.from(Uint32Array.of(size).buffer).reverse();
  return `ssh-rsa ${Buffer.concat(fields.flatMap((field) => [length(field.length), field])).toString('base64')}`;
}

t.test('SendSSHPublicKey answers, and the push is on record with its signer', async (t) => {
  const { region, push } = await open(t);
  t.equal(publicKey.length, 80, 'a bare Ed25519 key is as short as a key may be');
  const { RequestId, Success } = await push({ SSHPublicKey: `${publicKey}\n` });
  t.equal(Success, true);
  t.match(region.pushes, [
    {
      instanceId,
      user: 'ec2-user',
      publicKey,
      accessKeyId: region.env.AWS_ACCESS_KEY_ID,
      arn: 'arn:aws:iam::111122223333:user/alice',
    },
  ]);
  t.match(region.requests, [
    { service: 'ec2-instance-connect', action: 'SendSSHPublicKey', status: 200, requestId: RequestId },
  ]);
});

t.test('what it takes', async (t) => {
  const { region, push } = await open(t);
  const blob = (type: string) =>
    Buffer.concat([Buffer.from([0, 0, 0, type.length]), Buffer.from(type), Buffer.alloc(60)]).toString('base64');
  const taken: Given[] = [
    { InstanceOSUser: 'a' },
    { InstanceOSUser: '_.-@x$' },
    { InstanceOSUser: `a${'b'.repeat(31)}` },
    { InstanceOSUser: '4you' },
    { AvailabilityZone: 'eu-west-1a' },
    { SSHPublicKey: `${publicKey} a comment, of some words` },
    { SSHPublicKey: rsaKey(2048) },
    ...['ecdsa-sha2-nistp256', 'sk-ssh-ed25519@openssh.com'].map((type) => ({ SSHPublicKey: `${type} ${blob(type)}` })),
  ];
  for (const given of taken) t.ok((await push(given)).Success, JSON.stringify(given));
  t.equal(region.pushes.length, taken.length);
});

t.test('what it refuses, and how', async (t) => {
  const { region, push } = await open(t, { quotas: { SendSSHPublicKey: 1000 } });
  const cases: [string, Given, string][] = [
    ['a hybrid node', { InstanceId: 'mi-0123456789abcdef0' }, 'ValidationException'],
    ['a short instance id', { InstanceId: 'i-0123456' }, 'ValidationException'],
    ['no instance id', { InstanceId: undefined }, 'ValidationException'],
    ['no user', { InstanceOSUser: '' }, 'ValidationException'],
    ['a user of 33 characters', { InstanceOSUser: `a${'b'.repeat(32)}` }, 'ValidationException'],
    ['a user with a blank', { InstanceOSUser: 'a b' }, 'ValidationException'],
    ['a user that is a path', { InstanceOSUser: '../x' }, 'ValidationException'],
    ['a user that is a number', { InstanceOSUser: '1000' }, 'ValidationException'],
    ['a short key', { SSHPublicKey: publicKey.slice(0, 79) }, 'ValidationException'],
    ['a long key', { SSHPublicKey: `${publicKey} ${'c'.repeat(4096)}` }, 'ValidationException'],
    ['two keys', { SSHPublicKey: `${publicKey}\n${publicKey}\n` }, 'InvalidArgsException'],
    ['options before the key', { SSHPublicKey: `no-pty ${publicKey}` }, 'InvalidArgsException'],
    ['a type that is not the key’s', { SSHPublicKey: publicKey.replace('ed25519', 'rsa....') }, 'InvalidArgsException'],
    ['a PEM file', { SSHPublicKey: `-----BEGIN PUBLIC KEY-----\n${'A'.repeat(80)}` }, 'InvalidArgsException'],
    ['an RSA key of 1024 bits', { SSHPublicKey: rsaKey(1024) }, 'InvalidArgsException'],
    ['an unknown instance', { InstanceId: 'i-0ffffffffffffffff' }, 'EC2InstanceNotFoundException'],
  ];
  for (const [what, given, name] of cases) await t.rejects(push(given), { name }, what);
  t.same(region.pushes, []);
  region.nodes.get(instanceId)!.state = 'stopped';
  await t.rejects(push(), { name: 'EC2InstanceStateInvalidException', message: /stopped/ });
  region.nodes.get(instanceId)!.state = 'pending';
  await t.rejects(push(), { name: 'EC2InstanceUnavailableException' });
});

t.test('it belongs to the account of the instance', async (t) => {
  const { push } = await open(t, { nodes: [{ instanceId, account: '999999999999' }] });
  await t.rejects(push(), { name: 'EC2InstanceNotFoundException' });
});

t.test('a policy may depend on the user', async (t) => {
  const { push, region } = await open(t, {
    accessKeys: [
      {
        accessKeyId: 'AKID',
        secretAccessKey: 's',
        policies: [
          {
            Statement: {
              Effect: 'Allow',
              Action: 'ec2-instance-connect:SendSSHPublicKey',
              Resource: 'arn:aws:ec2:eu-west-1:111122223333:instance/*',
              Condition: { StringEquals: { 'ec2:osuser': ['ec2-user', 'ubuntu'] } },
            },
          },
        ],
      },
    ],
  });
  t.ok((await push()).Success);
  await t.rejects(push({ InstanceOSUser: 'root' }), {
    name: 'AccessDeniedException',
    message:
      'User: arn:aws:iam::111122223333:user/alice is not authorized to perform: ec2-instance-connect:SendSSHPublicKey ' +
      `on resource: arn:aws:ec2:eu-west-1:111122223333:instance/${instanceId} because no identity-based policy allows ` +
      'the ec2-instance-connect:SendSSHPublicKey action',
  });
  region.identities.denials.push({
    action: 'ec2-instance-connect:*',
    conditions: { StringNotLike: { 'ec2:osuser': 'ec2-*' } },
  });
  t.ok((await push()).Success);
  await t.rejects(push({ InstanceOSUser: 'ubuntu' }), { message: /explicit deny/ });
});

t.test('throttled in the service’s own words', async (t) => {
  const { push } = await open(t, { quotas: { SendSSHPublicKey: 1 } });
  await push();
  await t.rejects(push(), { name: 'ThrottlingException', message: 'Server is busy! Please retry after a moment.' });
});

t.test('who may log in follows the pushes and the clock, and ends with the region', async (t) => {
  const clock = new ManualClock();
  const published: string[][] = [];
  const pushes = new KeyPushes(clock, { lifetimeMs: 1000 });
  const add = (key: string) =>
    pushes.add({ time: 0, instanceId, user: 'u', publicKey: key, accessKeyId: 'A', arn: '' }, (_user, keys) =>
      published.push(keys),
    );
  add('one');
  await clock.advance(600);
  add('two');
  await clock.advance(400);
  t.same(pushes.valid(instanceId, 'u'), ['two']);
  add('one');
  pushes.stop();
  t.same(published, [['one'], ['one', 'two'], ['two'], ['two', 'one'], []]);
  t.equal(clock.pending, 0);
});
