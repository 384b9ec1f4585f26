import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { GetCommandInvocationCommand, SendCommandCommand } from '@aws-sdk/client-ssm';
import t, { type Test } from 'tap';
import { hostKeysDocument } from '../../../src/hostkeys/host-keys-document.ts';
import { pushDocument } from '../../../src/keypush/push-document.ts';
import { CommandDocuments, renderScript } from '../commands/command-documents.ts';
import { ssmClient, until } from '../fixture.ts';
import { makeNodeFiles } from '../node/files.ts';
import type { RegionOptions } from '../options.ts';
import { startRegion } from '../region.ts';

const target = 'mi-0123456789abcdef0';
const key = `AAAAC3NzaC1lZDI1NTE5AAAAI${'x'.repeat(43)}`;

async function setUp(t: Test, options: RegionOptions = {}) {
  const files = makeNodeFiles({ folder: t.testdir(), users: { deploy: {} } });
  const region = await startRegion({
    nodes: [{ instanceId: target, runScript: files.runScript }],
    commands: { visibleAfterMs: 0, deliveryMs: 0 },
    commandDocuments: { push: JSON.stringify(pushDocument()) },
    ...options,
  });
  t.teardown(() => region.stop());
  const ssm = ssmClient(t, region);
  const send = (DocumentName: string, Parameters: Record<string, string[]>) =>
    ssm.send(new SendCommandCommand({ InstanceIds: [target], DocumentName, Parameters }));
  const invocation = (CommandId: string) =>
    ssm.send(new GetCommandInvocationCommand({ CommandId, InstanceId: target }));
  return { files, region, send, invocation };
}

t.test('a command runs on the node, with its files', async (t) => {
  const { files, region, send, invocation } = await setUp(t);
  const { Command } = await send('push', { user: ['deploy'], key: [key], seconds: ['60'] });
  t.match(Command, { Status: 'Pending', DocumentName: 'push' });
  await until(() => region.commands[0]!.status === 'Success');
  t.match(await invocation(Command!.CommandId!), {
    Status: 'Success',
    ResponseCode: 0,
    StandardOutputContent: /deploy/,
  });
  t.ok(readFileSync(join(files.home('deploy'), '.ssh/authorized_keys'), 'utf8').includes(key));

  const failed = await send('AWS-RunShellScript', { commands: ['echo $0', 'echo no >&2', 'exit 3'] });
  await until(() => region.commands[1]!.status === 'Failed');
  t.match(await invocation(failed.Command!.CommandId!), {
    ResponseCode: 3,
    StandardOutputContent: /_script-\d+\.sh\n$/,
    StandardErrorContent: 'no\nfailed to run commands: exit status 3',
  });
});

t.test('a document takes what its patterns take', async (t) => {
  const { region, send } = await setUp(t);
  const good = { user: ['deploy'], key: [key], seconds: ['60'] };
  const wrong: Record<string, string[]>[] = [
    { ...good, user: ["x'; id; '"] },
    { ...good, user: ['x\nid'] },
    { ...good, user: ['0'] },
    { ...good, user: ['a', 'b'] },
    { ...good, key: [`${key}x`] },
    { ...good, seconds: ['1000'] },
    { user: ['deploy'], key: [key] },
    { ...good, more: ['x'] },
  ];
  for (const parameters of wrong) await t.rejects(send('push', parameters), { name: 'InvalidParameters' });
  await t.rejects(send('other', good), { name: 'InvalidDocument' });
  t.same(region.commands, []);
});

t.test('it is not known at once, and to nobody else', async (t) => {
  const { region, send, invocation } = await setUp(t, { commands: { visibleAfterMs: 60_000, deliveryMs: 0 } });
  const { Command } = await send('AWS-RunShellScript', { commands: ['true'] });
  await t.rejects(invocation(Command!.CommandId!), { name: 'InvocationDoesNotExist' });
  await t.rejects(invocation('00000000-0000-0000-0000-000000000000'), { name: 'InvocationDoesNotExist' });
  await until(() => region.commands[0]!.status === 'Success');
});

t.test('IAM looks at document and node', async (t) => {
  const { region, send } = await setUp(t);
  const may = (...Resource: string[]) =>
    region.identities.setPolicies(region.env.AWS_ACCESS_KEY_ID!, [
      { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: 'ssm:SendCommand', Resource }] },
    ]);
  const document = 'arn:aws:ssm:eu-west-1:111122223333:document/push';
  const node = `arn:aws:ssm:eu-west-1:111122223333:managed-instance/${target}`;
  const push = () => send('push', { user: ['deploy'], key: [key], seconds: ['60'] });
  may(node);
  await t.rejects(push(), { name: 'AccessDeniedException', message: /document\/push/ });
  may(document);
  await t.rejects(push(), { name: 'AccessDeniedException', message: /managed-instance/ });
  may(document, node);
  await push();
  await t.rejects(send('AWS-RunShellScript', { commands: ['id'] }), { name: 'AccessDeniedException' });
});

t.test('our documents are such as AWS takes, and say who they are for', async (t) => {
  const texts = { push: JSON.stringify(pushDocument(['ec2-user', 'a.b'])), keys: JSON.stringify(hostKeysDocument()) };
  const documents = new CommandDocuments(texts);
  const render = (user: string) =>
    renderScript(documents.find('push'), { user: [user], key: [key], seconds: ['60'] }).lines.join('\n');
  t.match(render('a.b'), `keyhole_user='a.b' keyhole_key='${key}' keyhole_seconds='60'`);
  t.notMatch(render('ec2-user'), /\{\{/);
  for (const user of ['root', 'ec2-user2', 'axb']) t.throws(() => render(user), { code: 'InvalidParameters' }, user);
  t.match(renderScript(documents.find('keys'), {}), { timeoutMs: 60_000, platformType: 'Linux' });
  for (const [text, why] of [
    [texts.push.replaceAll('{{ user }}', '{{ usr }}'), /parameter usr/],
    [texts.push.replace('"2.2"', '"1.2"'), /schema/],
    [texts.push.replace('aws:runShellScript', 'aws:runPowerShellScript'), /other steps/],
    [texts.push.replace('"description"', '"descr"'), /descr/],
    [texts.push.replace('keyhole:', 'x'.repeat(65_536)), /64 KB/],
  ] as const) {
    t.throws(() => new CommandDocuments({ push: text }), { message: why });
  }
});
