import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { FrameType } from '../../src/control/frame.ts';
import type { OpenRequest } from '../../src/control/message.ts';
import { isSame, KnownRequests, listenForKnocks } from '../../src/daemon/knocks.ts';
import { knockFolder } from '../../src/paths.ts';
import { ManualClock } from '../manual-clock.ts';
import { shortFolder } from '../unix-sockets.ts';
import { collect, conversation, instanceId, openSessions, type Stage, setStage, until } from './stage.ts';

const onLinux = { skip: process.platform !== 'linux' && 'nobody knocks here' };

function requestOf(pid: number, more: Partial<OpenRequest> = {}): OpenRequest {
  const caller = { env: { HOME: '/home/u' }, cwd: '/', pid, parentPid: 1 };
  return { host: instanceId, port: '22', handover: 'fd', flags: {}, caller, ...more };
}

/** A process that looks like one that will ask, and waits. */
function startLauncher(
  t: Test,
  {
    args = ['--', instanceId, '22'],
    env = {},
    cwd = '/',
  }: { args?: string[]; env?: Record<string, string>; cwd?: string } = {},
): ChildProcess & { pid: number } {
  const child = spawn('/bin/sh', ['-c', 'read line', 'keyhole', 'proxy', ...args], {
    env,
    cwd,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  return child as ChildProcess & { pid: number };
}

t.test('a knock is heard once and leaves nothing; the folder is there while somebody listens', onLinux, async (t) => {
  const sshDir = shortFolder(t);
  const folder = join(sshDir, knockFolder);
  mkdirSync(folder, { mode: 0o700 });
  writeFileSync(join(folder, '77'), ''); // when nobody listened
  const heard: number[] = [];
  const ear = listenForKnocks(sshDir, (pid) => heard.push(pid));
  t.same(readdirSync(folder), [], 'old knocks are no knocks');
  for (const name of ['12', 'x', '012', '34']) writeFileSync(join(folder, name), '');
  await until('both are heard', () => heard.length === 2 && readdirSync(folder).length === 0);
  t.same(heard, [12, 34]);
  ear!.close();
  t.notOk(existsSync(folder));
});

t.test('no ear in a folder that is not ours alone', onLinux, async (t) => {
  const [open, linked] = [shortFolder(t), shortFolder(t)];
  mkdirSync(join(open, knockFolder));
  chmodSync(join(open, knockFolder), 0o777);
  symlinkSync(open, join(linked, knockFolder));
  for (const sshDir of [open, linked]) {
    t.equal(
      listenForKnocks(sshDir, () => {}),
      undefined,
    );
    t.notOk(existsSync(join(sshDir, knockFolder)), 'and none that somebody would knock at');
  }
  t.ok(existsSync(open));
});

t.test('what a process will ask for is known by what one like it asked for', async (t) => {
  const clock = new ManualClock();
  const known = new KnownRequests(clock, (pid) => (pid < 0 ? undefined : `like ${pid % 10}`));
  t.equal(known.recall(1), undefined);
  known.remember(requestOf(1));
  t.strictSame(known.recall(11)?.caller, { env: { HOME: '/home/u' }, cwd: '/', pid: 11, parentPid: 11 });
  t.equal(known.recall(2), undefined, 'not like it');
  t.equal(known.recall(-1), undefined, 'nothing can be seen');
  known.remember(requestOf(-1));
  t.equal(known.recall(-1), undefined);

  t.test('not after an hour, and not more than 64', async (t) => {
    await clock.advance(3_599_999);
    t.ok(known.recall(11));
    await clock.advance(1);
    t.equal(known.recall(11), undefined);
    const many = new KnownRequests(clock, String);
    for (let pid = 0; pid < 65; pid++) many.remember(requestOf(pid));
    t.equal(many.recall(0), undefined, 'the oldest goes');
    t.ok(many.recall(1));
    t.ok(many.recall(64));
  });

  t.test('not after it failed', async (t) => {
    known.remember(requestOf(1));
    known.forget(requestOf(2, { port: '23' }));
    t.ok(known.recall(1));
    known.forget(requestOf(3));
    t.equal(known.recall(1), undefined);
  });
});

t.test('requests are the same whoever takes them over how, and differ by all that matters', async (t) => {
  const request = requestOf(1, { user: 'u', flags: { a: '1', b: '2' }, upstreamAgent: '/a' });
  const { caller } = request;
  t.ok(isSame(request, { ...request, handover: 'relay', socketInode: 7, flags: { b: '2', a: '1' } }));
  t.ok(
    isSame(request, { ...request, caller: { ...caller, pid: 2, parentPid: 3, env: { ...caller.env, SHLVL: '2' } } }),
  );
  const others: Partial<OpenRequest>[] = [
    { host: 'i-0123456789abcdef1' },
    { port: '23' },
    { user: 'v' },
    { flags: {} },
    { upstreamAgent: '/b' },
    { caller: { ...caller, cwd: '/tmp' } },
    { caller: { ...caller, env: { ...caller.env, AWS_PROFILE: 'p' } } },
  ];
  for (const other of others) t.notOk(isSame(request, { ...request, ...other }), JSON.stringify(other));
});

t.test(
  'processes are alike by arguments, folder and environment, not by what differs from shell to shell',
  onLinux,
  async (t) => {
    const known = new KnownRequests(new ManualClock());
    const env = { HOME: '/home/u', AWS_PROFILE: 'p' };
    known.remember(requestOf(startLauncher(t, { env }).pid));
    const alike = [env, { ...env, SHLVL: '7', NODE_OPTIONS: '--x' }, { ...env, 'BASH_FUNC_x%%': '() { :; }' }];
    for (const each of alike) t.ok(known.recall(startLauncher(t, { env: each }).pid), JSON.stringify(each));
    const others = [
      { env: { ...env, AWS_PROFILE: 'q' } },
      { env: { ...env, NODE_EXTRA_CA_CERTS: '/x' } },
      { env: { ...env, KEYHOLE_TRANSPORT: 'eice' } },
      { env, cwd: '/tmp' },
      { env, args: ['--', instanceId, '23'] },
      { env, args: ['--no-daemon', '--', instanceId, '22'] },
    ];
    for (const other of others) t.equal(known.recall(startLauncher(t, other).pid), undefined, JSON.stringify(other));
    t.equal(known.recall(process.pid), undefined, 'no keyhole at all');
    t.equal(known.recall(2 ** 22 + 1), undefined, 'no process at all');
  },
);

/** A first connection, after which another like it is known, and a launcher that is about to make that. */
async function knownLauncher(t: Test, stage: Stage) {
  const first = startLauncher(t);
  const link = await stage.connect();
  link.send(FrameType.open, ofProcess(stage, first.pid));
  await conversation(stage, link, FrameType.ready);
  link.socket.destroy();
  await until('the first is over', () => openSessions(stage.region) === 0 && !stage.service.busy);
  return startLauncher(t);
}

function ofProcess(stage: Stage, pid: number, more: Partial<OpenRequest> = {}): OpenRequest {
  const request = stage.request(more);
  return { ...request, caller: { ...request.caller, pid } };
}

t.test('a tunnel is begun at a knock and given to who knocked', onLinux, async (t) => {
  const stage = await setStage(t);
  stage.service.knocked(startLauncher(t).pid);
  t.equal(stage.service.busy, false, 'nothing is known yet');
  const launcher = await knownLauncher(t, stage);
  stage.service.knocked(launcher.pid);
  stage.service.knocked(launcher.pid);
  await until('its session is open', () => openSessions(stage.region) === 1);
  t.match(stage.service.status().tunnels, [{ state: 'opening', clientPid: launcher.pid }]);
  const link = await stage.connect();
  link.send(FrameType.open, ofProcess(stage, launcher.pid, { handover: 'relay' }));
  const frames = await conversation(stage, link, FrameType.ready);
  t.equal(frames[0]?.type, FrameType.progress, 'with the words that it would have heard');
  t.equal(stage.region.sessions.length, 2, 'one session for each connection');
  t.match(stage.service.status().tunnels, [{ clientPid: process.ppid }], 'as any other now');
  link.send(FrameType.go);
  const text = collect(link.release());
  link.socket.write('hello');
  await until('it carries bytes both ways', () => text() === 'SSH-2.0-target\r\nhello');
  link.socket.destroy();
  await until('nothing is left', () => !stage.service.busy && openSessions(stage.region) === 0);
  t.same(stage.failures, []);
});

t.test('who knocks and dies leaves nothing', onLinux, async (t) => {
  const stage = await setStage(t);
  const launcher = await knownLauncher(t, stage);
  stage.service.knocked(launcher.pid);
  await until('its session is open', () => openSessions(stage.region) === 1);
  launcher.kill('SIGKILL');
  await once(launcher, 'exit');
  await until('it is ended', () => openSessions(stage.region) === 0 && !stage.service.busy, 3_000);
  t.same(stage.failures, [], 'nobody failed');
});

t.test('who asks for something else gets that, and what was begun is ended', onLinux, async (t) => {
  const stage = await setStage(t);
  const launcher = await knownLauncher(t, stage);
  stage.service.knocked(launcher.pid);
  const link = await stage.connect();
  link.send(FrameType.open, ofProcess(stage, launcher.pid, { flags: { transport: 'ssm' } }));
  await conversation(stage, link, FrameType.ready);
  await until('one session is left', () => openSessions(stage.region) === 1);
  t.equal(stage.service.status().tunnels.length, 1);
  link.socket.destroy();
  await until('nothing is left', () => !stage.service.busy && openSessions(stage.region) === 0);
});

t.test('one that drains begins nothing, and ends what nobody came for', onLinux, async (t) => {
  const stage = await setStage(t);
  const launcher = await knownLauncher(t, stage);
  stage.service.knocked(launcher.pid);
  await until('its session is open', () => openSessions(stage.region) === 1);
  stage.service.drain();
  await until('it is ended', () => openSessions(stage.region) === 0 && !stage.service.busy);
  stage.service.knocked(launcher.pid);
  t.equal(stage.service.busy, false);
});

t.test('what fails before its caller is there is told when it is, and not begun again', onLinux, async (t) => {
  const stage = await setStage(t);
  const launcher = await knownLauncher(t, stage);
  stage.region.apiFaults.fail('StartSession', { code: 'AccessDeniedException', times: 2 });
  stage.service.knocked(launcher.pid);
  await until('it has failed', () => !stage.service.busy);
  const link = await stage.connect();
  link.send(FrameType.open, ofProcess(stage, launcher.pid));
  await t.rejects(conversation(stage, link, FrameType.ready), { message: /access-denied/ });
  await until('and it is over', () => !stage.service.busy);
  const next = startLauncher(t);
  stage.service.knocked(next.pid);
  t.equal(stage.service.busy, false);
});
