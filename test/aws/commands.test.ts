// Commands and consoles against the simulated region, through AWS's SDK.
import t, { type Test } from 'tap';
import type { AwsContext } from '../../src/aws/context.ts';
import { openAws } from '../../src/aws/own-context.ts';
import { systemClock } from '../../src/clock.ts';
import { silent } from '../../src/log.ts';
import type { ScriptResult } from '../region/commands/commands.ts';
import type { NodeOptions, RegionOptions } from '../region/options.ts';
import { type Region, startRegion } from '../region/region.ts';
import { useAwsSettings } from './aws-files.ts';

const target = 'mi-0123456789abcdef0';
const instance = 'i-0123456789abcdef0';
const request = { target, documentName: 'AWS-RunShellScript', parameters: { commands: ['id'] }, comment: 'test' };
const { signal } = new AbortController();

async function setUp(
  t: Test,
  node: Omit<NodeOptions, 'instanceId'> = {},
  options: RegionOptions = {},
): Promise<{ region: Region; aws: AwsContext }> {
  const nodes = [target, instance].map((instanceId) => ({ instanceId, ...node }));
  const region = await startRegion({ nodes, commands: { visibleAfterMs: 0, deliveryMs: 0 }, ...options });
  t.teardown(() => region.stop());
  useAwsSettings(t, {}, region.env);
  const aws = await openAws({ clock: systemClock, log: silent });
  t.teardown(() => aws.close());
  return { region, aws };
}

const ends = (result: Partial<ScriptResult>) => ({
  runScript: async () => ({ status: 0, stdout: '', stderr: '', ...result }),
});

t.test('a command is waited for, from before AWS knows of it', async (t) => {
  const commands = { visibleAfterMs: 350, deliveryMs: 0 };
  const { region, aws } = await setUp(t, ends({ stdout: 'uid=0(root)\n' }), { commands });
  t.equal(await aws.commands.run(request, signal), 'uid=0(root)\n');
  t.match(region.commands, [{ status: 'Success', comment: 'test', parameters: { commands: ['id'] } }]);
  const looks = region.requests.filter(({ action }) => action === 'GetCommandInvocation');
  t.equal(looks[0]?.error, 'InvocationDoesNotExist');
  t.equal(looks.at(-1)?.status, 200);
});

t.test('how it failed is told', async (t) => {
  const stderr = 'keyhole: there is no user bob on the node\nfurther\x1b[1m words\n';
  const { region, aws } = await setUp(t, ends({ status: 1, stderr }));
  const run = () => aws.commands.run(request, signal);
  await t.rejects(run(), {
    code: 'command-failed',
    message: `the command on ${target} failed: there is no user bob on the node`,
  });
  const node = region.nodes.get(target)!;
  Object.assign(node, ends({ status: null }));
  await t.rejects(run(), { code: 'command-failed', message: /ExecutionTimedOut|exit status null/ });
  node.runScript = undefined;
  await t.rejects(run(), { code: 'command-undelivered', message: /Undeliverable/ });
});

t.test('what AWS refuses is told', async (t) => {
  const { region, aws } = await setUp(t, ends({}));
  const run = (more: object) => aws.commands.run({ ...request, ...more }, signal);
  await t.rejects(run({ documentName: 'keyhole-push' }), {
    code: 'document-unknown',
    message: /no command document keyhole-push/,
    hint: /policy --push-document/,
  });
  await t.rejects(run({ parameters: { other: ['x'] } }), {
    code: 'request-refused',
    message: /not defined in the doc/,
  });
  await t.rejects(run({ target: 'mi-00000000000000000' }), { code: 'target-not-connected' });
  region.nodes.get(target)!.online = false;
  await t.rejects(run({}), { code: 'target-not-connected', message: new RegExp(target) });
  region.identities.setPolicies(region.env.AWS_ACCESS_KEY_ID!, []);
  await t.rejects(run({}), {
    code: 'access-denied-document',
    message: /ssm:SendCommand with document AWS-RunShellScript/,
  });
  t.same(region.commands, []);
});

t.test('throttling is waited out, and the wait ends with its signal', async (t) => {
  const { region, aws } = await setUp(t, ends({ stdout: 'x' }));
  region.apiFaults.fail('SendCommand', { code: 'ThrottlingException' });
  region.apiFaults.fail('GetCommandInvocation', { code: 'ThrottlingException' });
  t.equal(await aws.commands.run(request, signal), 'x');
  region.nodes.get(target)!.runScript = () => new Promise(() => {});
  const caller = new AbortController();
  const left = t.rejects(aws.commands.run(request, caller.signal), /gone/);
  caller.abort(new Error('gone'));
  await left;
});

t.test('the console of an instance', async (t) => {
  const { region, aws } = await setUp(t, { consoleOutput: `old${'.'.repeat(65_000)}${'x'.repeat(1_000)}\xff\r\n` });
  const output = await aws.ec2.consoleOutput(instance, true);
  t.equal(output.length, 64 * 1024);
  t.ok(output.endsWith('x\xff\r\n'));
  region.nodes.get(instance)!.hypervisor = 'xen';
  await t.rejects(aws.ec2.consoleOutput(instance, true), { message: /UnsupportedOperation/ });
  t.equal((await aws.ec2.consoleOutput(instance, false)).length, 64 * 1024);
  region.nodes.get(instance)!.consoleOutput = '';
  t.equal(await aws.ec2.consoleOutput(instance, false), '');
  await t.rejects(aws.ec2.consoleOutput('i-00000000000000000', true), { code: 'instance-unknown' });
});
