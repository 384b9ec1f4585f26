// Session Manager's documented policies in force: asked by AWS's SDK.
import { readFileSync } from 'node:fs';
import { ResumeSessionCommand, StartSessionCommand, TerminateSessionCommand } from '@aws-sdk/client-ssm';
import t, { type Test } from 'tap';
import { clientConfig, connectLeg, instanceId, signUpgrade, ssmClient, startStand } from '../fixture.ts';
import type { PolicyDocument } from './policy.ts';

const untaggedId = 'i-0fedcba9876543210';

function documented(name: string): PolicyDocument {
  return JSON.parse(readFileSync(new URL(`policies/${name}.json`, import.meta.url), 'utf8')) as PolicyDocument;
}

async function open(t: Test, policy: string) {
  const key = (name: string) => ({
    accessKeyId: name.toUpperCase(),
    secretAccessKey: 's',
    arn: `arn:aws:iam::111122223333:user/${name}`,
    policies: [documented(policy)],
  });
  const { region, ssm } = await startStand(t, {
    nodes: [{ instanceId, tags: { stage: 'test' } }, { instanceId: untaggedId }],
    accessKeys: [key('alice'), key('bob')],
  });
  const bob = ssmClient(t, region, { credentials: clientConfig(region, 'BOB').credentials });
  const start = (Target: string, DocumentName?: string, client = ssm) =>
    client.send(new StartSessionCommand({ Target, ...(DocumentName === undefined ? {} : { DocumentName }) }));
  return { region, ssm, bob, start };
}

const denied = { name: 'AccessDeniedException' };
const ssh = 'AWS-StartSSHSession';

t.test('instance and document must both be allowed', async (t) => {
  const { start } = await open(t, 'session-ssh');
  t.ok(await start(instanceId, ssh));
  await t.rejects(start(untaggedId, ssh), {
    ...denied,
    message: /resource: arn:aws:ec2:.*instance\/i-0fedcba9876543210/,
  });
  await t.rejects(start(instanceId, 'AWS-StartPortForwardingSession'), {
    ...denied,
    message: /document\/AWS-StartPort/,
  });
  t.ok(await start(instanceId), 'without a name the document is not checked');
});

t.test('with ssm:SessionDocumentAccessCheck the default document is checked too', async (t) => {
  const { start } = await open(t, 'session-document-check');
  t.ok(await start(instanceId, ssh));
  await t.rejects(start(instanceId), {
    ...denied,
    message: /resource: arn:aws:ssm:.*document\/SSM-SessionManagerRunShell/,
  });
});

t.test('a deny of the document wins', async (t) => {
  const { start } = await open(t, 'session-no-ssh');
  t.ok(await start(instanceId, 'AWS-StartPortForwardingSession'));
  await t.rejects(start(instanceId, ssh), { ...denied, message: /explicit deny/ });
});

t.test('an instance’s tags may decide', async (t) => {
  const { start } = await open(t, 'session-administrator');
  t.ok(await start(instanceId, 'SSM-SessionManagerRunShell'));
  await t.rejects(start(untaggedId, 'SSM-SessionManagerRunShell'), denied);
});

for (const policy of ['session-own-by-name', 'session-own-by-tag']) {
  t.test(`${policy}: everybody resumes and ends their own sessions only`, async (t) => {
    const { start, ssm, bob } = await open(t, policy);
    const { SessionId } = await start(instanceId, ssh);
    await t.rejects(bob.send(new ResumeSessionCommand({ SessionId })), denied);
    await t.rejects(bob.send(new TerminateSessionCommand({ SessionId })), denied);
    t.ok(await ssm.send(new ResumeSessionCommand({ SessionId })));
    t.ok(await ssm.send(new TerminateSessionCommand({ SessionId })));
  });
}

t.test('the data channel is opened by permission, on the session’s ARN', async (t) => {
  const { region, start } = await open(t, 'session-own-by-name');
  const upgrade = async () => {
    const { StreamUrl } = await start(instanceId, ssh);
    const leg = await connectLeg(StreamUrl!, await signUpgrade(region, StreamUrl!));
    return leg.socket.readyState === leg.socket.OPEN ? 'open' : (await leg.closed).reason;
  };
  t.equal(await upgrade(), 'open');
  // Ids begin with the user's name and not with aws:userid, so that this sample matches none of them.
  region.identities.setPolicies('ALICE', [documented('session-ssh')]);
  t.equal(await upgrade(), 'AccessDeniedException');
});
