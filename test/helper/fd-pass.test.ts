// The descriptor on its way: `keyhole proxy` as a process, in front of a daemon in this one, and behind it a program
// that takes the descriptor as ssh does.
import t from 'tap';
import { FrameType } from '../../src/control/frame.ts';
import { expectFrame } from '../../src/control/link.ts';
import { parseOpenRequest } from '../../src/control/message.ts';
import { hasPython, main, playSsh, setUp, start, target } from './played-daemon.ts';

t.test(
  'a descriptor arrives, the helper is gone, and no byte is missing, again and again',
  { skip: !hasPython },
  async (t) => {
    const requests: ReturnType<typeof parseOpenRequest>[] = [];
    const env = await setUp(t, async (link) => {
      const frame = await link.receive();
      requests.push(parseOpenRequest(expectFrame(frame, FrameType.open)));
      link.send(FrameType.ready);
      const socket = await link.firstBytes();
      socket.write('SSH-2.0-daemon\r\n');
      socket.pipe(socket);
    });
    const rounds = 10;
    const ssh = start(
      t,
      [...playSsh, String(rounds), process.execPath, main, 'proxy', '--', target, '22', 'root'],
      env,
    );
    const { stdout, stderr } = await ssh.ended;
    t.equal(stderr, '');
    const results = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    t.equal(results.length, rounds);
    t.strictSame(
      results.filter(({ good, status, stderr }) => !good || status !== 0 || stderr !== ''),
      [],
    );
    t.match(requests[0], {
      host: target,
      port: '22',
      user: 'root',
      handover: 'fd',
      caller: { env: { HOME: env.HOME } },
    });
    t.type(requests[0]?.socketInode, 'number');
  },
);

t.test(
  'an error of the daemon is shown as a line and a hint, and its exit status is ours',
  { skip: !hasPython },
  async (t) => {
    const env = await setUp(t, async (link) => {
      await link.receive();
      link.send(FrameType.error, { code: 'bad-setting', message: 'it is wrong', hint: 'do it right', exitStatus: 2 });
    });
    const { stdout } = await start(t, [...playSsh, '1', process.execPath, main, 'proxy', target, '22'], env).ended;
    t.strictSame(JSON.parse(stdout), {
      status: 2,
      stderr: 'keyhole: it is wrong\nkeyhole: hint: do it right\n',
      good: false,
      said: '',
    });
  },
);

t.test('an ssh that goes away before the tunnel is open ends the helper', { skip: !hasPython }, async (t) => {
  let asked: (() => void) | undefined;
  const wasAsked = new Promise<void>((done) => {
    asked = done;
  });
  let left: (() => void) | undefined;
  const hasLeft = new Promise<void>((done) => {
    left = done;
  });
  const env = await setUp(t, async (link) => {
    await link.receive();
    link.closed.addEventListener('abort', () => left?.());
    asked?.();
  });
  const ssh = start(t, [...playSsh, '1', process.execPath, main, 'proxy', target, '22'], env);
  await wasAsked;
  const since = performance.now();
  ssh.child.kill('SIGKILL');
  await hasLeft;
  t.ok(performance.now() - since < 3_000);
});

t.test('over pipes it relays: bytes both ways, the end of either side, no word on stderr', async (t) => {
  const env = await setUp(t, async (link) => {
    const request = parseOpenRequest(expectFrame(await link.receive(), FrameType.open));
    t.equal(request.handover, 'relay');
    link.send(FrameType.ready);
    expectFrame(await link.receive(), FrameType.go);
    const socket = link.release();
    socket.write('SSH-2.0-daemon\r\n');
    socket.pipe(socket);
  });
  const proxy = start(t, [process.execPath, main, 'proxy', target, '22'], env);
  // Said long before the tunnel is open.
  proxy.child.stdin!.write('SSH-2.0-client\r\n');
  const big = 'x'.repeat(1_000_000);
  proxy.child.stdin!.end(big);
  t.match(await proxy.ended, { status: 0, signal: null, stderr: '' });
  t.equal(proxy.stdout(), `SSH-2.0-daemon\r\nSSH-2.0-client\r\n${big}`);
});

t.test('over pipes the end of stdin, or a signal, before the tunnel is open ends it', async (t) => {
  for (const end of ['stdin', 'SIGTERM', 'SIGHUP'] as const) {
    let asked: (() => void) | undefined;
    const wasAsked = new Promise<void>((done) => {
      asked = done;
    });
    const env = await setUp(t, async (link) => {
      await link.receive();
      asked?.();
    });
    const proxy = start(t, [process.execPath, main, 'proxy', target, '22'], env);
    await wasAsked;
    if (end === 'stdin') proxy.child.stdin!.end();
    else proxy.child.kill(end);
    t.match(await proxy.ended, { status: 1, stdout: '', stderr: '' }, end);
  }
});

t.test('over pipes a signal while it relays lets the last words through', async (t) => {
  let text = '';
  const env = await setUp(t, async (link) => {
    await link.receive();
    link.send(FrameType.ready);
    expectFrame(await link.receive(), FrameType.go);
    const socket = link.release();
    socket.write('SSH-2.0-daemon\r\n');
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.on('end', () => socket.end());
    socket.resume();
  });
  const proxy = start(t, [process.execPath, main, 'proxy', target, '22'], env);
  while (proxy.stdout() === '') await new Promise((done) => setTimeout(done, 5));
  proxy.child.kill('SIGHUP');
  proxy.child.stdin!.write('goodbye');
  t.match(await proxy.ended, { status: 0, stderr: '' });
  t.equal(text, 'goodbye');
});

t.test('a daemon that goes away under the request is replaced by the next one', async (t) => {
  let times = 0;
  const env = await setUp(t, async (link) => {
    await link.receive();
    times += 1;
    if (times < 3) link.socket.destroy();
    else link.send(FrameType.error, { code: 'x', message: `asked ${times} times`, exitStatus: 1 });
  });
  const once = await start(t, [process.execPath, main, 'proxy', target, '22'], env).ended;
  t.match(once, { status: 1, stderr: 'keyhole: i-0123456789abcdef0: asked 3 times\n' });
  times = -10;
  const never = await start(t, [process.execPath, main, 'proxy', target, '22'], env).ended;
  t.match(never, { status: 1, stderr: /^keyhole: i-\w+: 3 times the daemon went away while it opened the tunnel\n/ });
});

t.test('the deadline holds also for a daemon that has stopped answering', async (t) => {
  const env = await setUp(t, async (link) => {
    await link.receive();
  });
  const proxy = start(t, [process.execPath, main, 'proxy', '--deadline=1s', target, '22'], env);
  t.match(await proxy.ended, { status: 1, stderr: /^keyhole: no connection to i-0123456789abcdef0 within 1 s\n/ });
});

t.test('why remembers what ssh did not show', async (t) => {
  const env = await setUp(t, async (link) => {
    await link.receive();
    link.send(FrameType.error, {
      code: 'target-not-connected',
      message: 'it is off',
      hint: 'turn it on',
      exitStatus: 1,
    });
  });
  await start(t, [process.execPath, main, 'proxy', target, '2222'], env).ended;
  const { stdout } = await start(t, [process.execPath, main, 'why', '--json'], env, 'ignore').ended;
  t.match(JSON.parse(stdout), [
    { host: target, port: '2222', code: 'target-not-connected', message: 'it is off', hint: 'turn it on' },
  ]);
});
