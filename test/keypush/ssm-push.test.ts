import t from 'tap';
import { EphemeralKey } from '../../src/agent/keyring.ts';
import type { CommandRequest } from '../../src/aws/command-api.ts';
import type { Pusher } from '../../src/aws/pusher.ts';
import { choosePusher } from '../../src/keypush/choose-pusher.ts';
import type { Settings } from '../../src/settings.ts';

const { signal } = new AbortController();
const publicKey = new EphemeralKey().publicLine;
const byInstanceConnect: Pusher = { validMs: 60_000, push: async () => {} };

function setUp(push: Settings['push'], output = 'keyhole: the key of deploy is good until tomorrow\n') {
  const sent: CommandRequest[] = [];
  const commands = {
    async run(request: CommandRequest) {
      sent.push(request);
      return output;
    },
  };
  const aws = { commands, pusher: (target: string) => (target.startsWith('i-') ? byInstanceConnect : undefined) };
  const pusherOf = (target: string) => choosePusher(target, { push, pushLifetimeMs: 90_000 }, aws);
  return { sent, pusherOf };
}

t.test('the setting says how', async (t) => {
  t.equal(setUp('off').pusherOf('i-1'), undefined);
  t.equal(setUp('instance-connect').pusherOf('i-1'), byInstanceConnect);
  t.equal(setUp('instance-connect').pusherOf('mi-1'), undefined, 'EC2 Instance Connect knows no nodes');
  for (const push of ['ssm-shell', 'ssm-document:d'] as const) {
    for (const target of ['i-1', 'mi-1']) t.equal(setUp(push).pusherOf(target)?.validMs, 90_000);
  }
});

t.test('a document is given the values alone', async (t) => {
  const { sent, pusherOf } = setUp('ssm-document:arn:aws:ssm:eu-west-1:111122223333:document/push');
  await pusherOf('mi-1')!.push(publicKey, 'deploy', signal);
  t.strictSame(sent, [
    {
      target: 'mi-1',
      documentName: 'arn:aws:ssm:eu-west-1:111122223333:document/push',
      comment: 'keyhole: key for deploy',
      parameters: { user: ['deploy'], key: [publicKey.split(' ')[1]!], seconds: ['90'] },
    },
  ]);
});

t.test('AWS-RunShellScript is given the script, line by line', async (t) => {
  const { sent, pusherOf } = setUp('ssm-shell');
  await pusherOf('i-1')!.push(publicKey, 'deploy', signal);
  t.match(sent, [{ target: 'i-1', documentName: 'AWS-RunShellScript', parameters: { executionTimeout: ['60'] } }]);
  const { commands = [] } = sent[0]!.parameters;
  t.ok(commands.length > 50 && commands.every((line) => !line.includes('\n')));
  t.ok(commands.join('\n').includes(`keyhole_user='deploy' keyhole_key='${publicKey.split(' ')[1]}'`));
});

t.test('what must not be sent is not', async (t) => {
  for (const push of ['ssm-shell', 'ssm-document:d'] as const) {
    const { sent, pusherOf } = setUp(push);
    const attempts = [
      [publicKey, "x'; id; '"],
      [publicKey, 'x$'],
      [`${publicKey}'; id`, 'deploy'],
      [publicKey.replace('keyhole', '$(id)'), 'deploy'],
      [`command="id" ${publicKey}`, 'deploy'],
    ] as const;
    for (const [line, user] of attempts) {
      await t.rejects(pusherOf('mi-1')!.push(line, user, signal), { code: 'push-refused' });
    }
    t.same(sent, []);
  }
});

t.test('a document that did nothing is no success', async (t) => {
  const { pusherOf } = setUp('ssm-document:other', 'Step execution skipped due to unsatisfied preconditions.');
  await t.rejects(pusherOf('mi-1')!.push(publicKey, 'deploy', signal), {
    code: 'push-failed',
    message: /^other ran on mi-1, but did not say/,
  });
});
