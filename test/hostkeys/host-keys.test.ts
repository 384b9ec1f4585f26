import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { AwsError } from '../../src/errors.ts';
import type { HostKey } from '../../src/hostkeys/host-key.ts';
import { HostKeys } from '../../src/hostkeys/host-keys.ts';
import { fetchHostKeys, type HostKeySource } from '../../src/hostkeys/source.ts';
import { silent } from '../../src/log.ts';
import { ManualClock, turn } from '../manual-clock.ts';
import { generateKeyPair } from '../region/sshd/key-pair.ts';

const newKey = () => generateKeyPair('root@node').public.trim();
const keyOf = (line: string): HostKey => ({ type: line.split(' ')[0]!, base64: line.split(' ')[1]! });
const { signal } = new AbortController();

function setUp(t: Test) {
  const clock = new ManualClock();
  const file = join(t.testdir(), 'keyhole', 'known_hosts');
  const hostKeys = new HostKeys(clock, silent, file);
  const node = { key: newKey(), calls: 0, error: undefined as Error | undefined, hangs: false };
  const aws = {
    id: 'context',
    commands: {
      async run(_: unknown, stop: AbortSignal) {
        node.calls += 1;
        if (node.hangs) await new Promise((_, reject) => stop.addEventListener('abort', () => reject(stop.reason)));
        if (node.error !== undefined) throw node.error;
        return `${node.key}\n`;
      },
    },
    ec2: {} as never,
  };
  const request = { host: 'web', port: 22, target: 'mi-1', source: 'ssm-shell' as const, aws };
  const text = () => readFileSync(file, 'utf8');
  return { clock, file, hostKeys, node, request, text };
}

t.test('the file has the keys when learning is done, in a folder that is ours alone', async (t) => {
  const { file, hostKeys, node, request, text } = setUp(t);
  await hostKeys.learn(request, signal);
  const line = (name: string) => `${name} ${node.key.replace('root@node', 'keyhole:mi-1')}\n`;
  t.equal(text(), line('web'));
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.equal(statSync(join(file, '..')).mode & 0o777, 0o700);
  await hostKeys.learn({ ...request, port: 2222 }, signal);
  await hostKeys.learn({ ...request, host: 'mi-1' }, signal);
  t.equal(text(), line('web') + line('[web]:2222') + line('mi-1'), 'by every name it is called');
  t.equal(node.calls, 1);
  t.same(readdirSync(join(file, '..')), ['known_hosts']);
});

t.test('connections that come together ask once, later ones after 50 s', async (t) => {
  const { clock, hostKeys, node, request, text } = setUp(t);
  await Promise.all(Array.from({ length: 30 }, () => hostKeys.learn(request, signal)));
  await clock.advance(49_999);
  await hostKeys.learn(request, signal);
  t.equal(node.calls, 1);
  node.key = newKey(); // built anew
  await clock.advance(1);
  await hostKeys.learn(request, signal);
  t.equal(node.calls, 2);
  t.ok(text().includes(keyOf(node.key).base64));
  t.equal(text().split('\n').length, 2, 'and the old key is not believed any more');
  t.equal(clock.pending, 0);
});

t.test('another instance under the name replaces the first', async (t) => {
  const { hostKeys, node, request, text } = setUp(t);
  await hostKeys.learn(request, signal);
  node.key = newKey();
  await hostKeys.learn({ ...request, target: 'mi-2' }, signal);
  t.equal(text(), `web ${node.key.replace('root@node', 'keyhole:mi-2')}\n`);
});

t.test('what was removed from the file is back with the next connection', async (t) => {
  const { file, hostKeys, node, request, text } = setUp(t);
  await hostKeys.learn(request, signal);
  const before = text();
  writeFileSync(file, '');
  await hostKeys.learn(request, signal);
  t.equal(text(), before);
  t.equal(node.calls, 1);
});

t.test('a failure leaves the file alone, and the next connection asks again', async (t) => {
  const { hostKeys, node, request, text } = setUp(t);
  await hostKeys.learn(request, signal);
  const before = text();
  node.error = new AwsError('access-denied', 'AWS denies it', { service: 'ssm', apiCode: 'AccessDeniedException' });
  for (const calls of [2, 3]) {
    await t.rejects(hostKeys.learn({ ...request, target: 'mi-2' }, signal), { code: 'access-denied' });
    t.equal(node.calls, calls);
  }
  t.equal(text(), before);
});

t.test('it does not take forever', async (t) => {
  const { clock, hostKeys, node, request } = setUp(t);
  node.hangs = true;
  const late = t.rejects(hostKeys.learn(request, signal), { code: 'host-keys-timeout', message: /mi-1/ });
  await clock.advance(10_000);
  await late;
  const caller = new AbortController();
  const left = t.rejects(hostKeys.learn(request, caller.signal), /gone/);
  caller.abort(new Error('gone'));
  await left;
  const ended = t.rejects(hostKeys.learn(request, signal), { code: 'interrupted' });
  hostKeys.close();
  await ended;
  await turn();
  t.equal(clock.pending, 0);
});

t.test('a file that cannot be written is told', async (t) => {
  const { file, hostKeys, request } = setUp(t);
  mkdirSync(file, { recursive: true, mode: 0o700 });
  await t.rejects(hostKeys.learn(request, signal), { code: 'known-hosts', message: /EISDIR/ });
});

t.test('the sources', async (t) => {
  const key = newKey();
  const sent: unknown[] = [];
  const consoles: Record<string, string | Error> = {};
  const apis = (output: string) => ({
    commands: {
      async run(request: unknown) {
        sent.push(request);
        return output;
      },
    },
    ec2: {
      async consoleOutput(_: string, latest: boolean) {
        const text = consoles[latest ? 'latest' : 'posted'] ?? '';
        if (text instanceof Error) throw text;
        return text;
      },
    } as never,
  });
  const fetch = (source: HostKeySource, output = `motd\n${key}\n`, target = 'i-1') =>
    fetchHostKeys(target, source, apis(output), signal);

  t.strictSame(await fetch('ssm-document:keys'), [keyOf(key)]);
  t.match(sent.pop(), { target: 'i-1', documentName: 'keys', parameters: {} });
  t.strictSame(await fetch('ssm-shell'), [keyOf(key)]);
  t.match(sent.pop(), { documentName: 'AWS-RunShellScript', parameters: { commands: [/^# keyhole/] } });
  await t.rejects(fetch('ssm-document:keys', 'nothing'), {
    code: 'host-keys-unknown',
    message: /^keys printed no host key/,
  });

  const block = `-----BEGIN SSH HOST KEY KEYS-----\n${key}\n-----END SSH HOST KEY KEYS-----\n`;
  consoles.latest = block;
  t.strictSame(await fetch('console-output'), [keyOf(key)]);
  consoles.posted = block;
  consoles.latest = '[  1.0] rebooted\n';
  t.strictSame(await fetch('console-output'), [keyOf(key)], 'where the block is in what was posted');
  const xen = { service: 'ec2', apiCode: 'UnsupportedOperation' };
  consoles.latest = new AwsError('aws-error', 'not on Xen', xen);
  t.strictSame(await fetch('console-output'), [keyOf(key)], 'where there is no latest');
  consoles.posted = '';
  await t.rejects(fetch('console-output'), { code: 'host-keys-unknown', message: /console of i-1 shows no/ });
  consoles.latest = new AwsError('access-denied', 'no', { service: 'ec2', apiCode: 'UnauthorizedOperation' });
  await t.rejects(fetch('console-output'), { code: 'access-denied' });
  await t.rejects(fetch('console-output', '', 'mi-1'), { code: 'host-keys-unknown', message: /mi-1 has no console/ });
});
