import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { listenPrivately } from '../../src/agent/socket-file.ts';
import { ControlListener } from '../../src/daemon/listener.ts';
import { ManualClock } from '../manual-clock.ts';
import { shortFolder } from '../unix-sockets.ts';
import { until } from './stage.ts';

function setUp(t: Test) {
  const folder = shortFolder(t);
  const path = join(folder, 'control.sock');
  const clock = new ManualClock();
  const listen = async (place = path) => {
    const seen = { connections: 0, replaced: 0 };
    const listener = await ControlListener.listen({
      path: place,
      clock,
      onConnection: (socket) => {
        seen.connections += 1;
        socket.destroy();
      },
      onReplaced: () => {
        seen.replaced += 1;
      },
    });
    t.teardown(() => listener.close());
    return { listener, seen };
  };
  return { folder, path, clock, listen };
}

async function reach(path: string): Promise<void> {
  const socket = connect(path);
  await once(socket, 'close');
}

t.test('the socket is for the user alone, whatever the umask, and the umask is as before', async (t) => {
  const { path, folder, listen } = setUp(t);
  const before = process.umask(0);
  t.teardown(() => process.umask(before));
  const listening = listen();
  t.equal(process.umask(), 0, 'also while the socket is being made');
  const { seen } = await listening;
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.strictSame(readdirSync(folder), ['control.sock']);
  await reach(path);
  t.equal(seen.connections, 1);
});

t.test('a socket at which nobody listens, and a file of another kind, are replaced', async (t) => {
  const { path, listen } = setUp(t);
  writeFileSync(path, 'not a socket');
  const { listener, seen } = await listen();
  await reach(path);
  t.equal(seen.connections, 1);
  listener.close();
  t.notOk(existsSync(path));
});

t.test('a second daemon is refused as long as the first one listens', async (t) => {
  const { path, listen } = setUp(t);
  const { listener, seen } = await listen();
  await t.rejects(listen(), { code: 'already-running' });
  await reach(path);
  t.equal(seen.connections, 2, 'the question and we');
  listener.close();
  await listen();
});

t.test('one whose place was taken, or removed, is told so once; it leaves the other’s socket', async (t) => {
  const { path, clock, listen } = setUp(t);
  const first = await listen();
  unlinkSync(path);
  const second = await listen();
  await until('the first is told', () => first.seen.replaced === 1);
  first.listener.close();
  t.ok(existsSync(path));
  await clock.advance(60_000);
  t.equal(first.seen.replaced, 1);
  t.equal(second.seen.replaced, 0);
  unlinkSync(path);
  await until('the second is told', () => second.seen.replaced === 1);
});

t.test('a folder that is not ours alone, a link, and a path too long are refused', async (t) => {
  const { folder, listen } = setUp(t);
  const open = join(folder, 'open');
  mkdirSync(open);
  chmodSync(open, 0o770);
  await t.rejects(listen(join(open, 'control.sock')), {
    code: 'unsafe-folder',
    message: /open to others \(mode 0770\)/,
  });
  chmodSync(open, 0o700);
  symlinkSync(open, join(folder, 'link'));
  await t.rejects(listen(join(folder, 'link', 'control.sock')), { code: 'unsafe-folder', message: /symbolic link/ });
  await t.rejects(listen(join(folder, 'x'.repeat(90), 'control.sock')), { code: 'socket-path' });
  await t.rejects(listen(join(folder, 'missing', 'control.sock')), { code: 'no-folder' });
});

/** As systemd: listens, and leaves the taking of connections to a process of its own (inherited-listener.ts). */
async function startActivated(t: Test, path: string) {
  const manager = createServer();
  await listenPrivately(manager, path);
  const { fd } = (manager as unknown as { _handle: { fd: number } })._handle;
  const program = join(import.meta.dirname, 'inherited-listener.ts');
  const child = spawn(process.execPath, [program, path], { stdio: ['pipe', 'pipe', 'inherit', fd] });
  t.teardown(() => child.kill('SIGKILL'));
  await once(child.stdout!, 'data');
  manager.close(); // the socket goes on: the child has it
  return child;
}

t.test('a socket that somebody else listens on is used, and left when the daemon goes', async (t) => {
  const { path } = setUp(t);
  const child = await startActivated(t, path);
  await reach(path);
  child.stdin!.end('going');
  await once(child, 'exit');
  t.ok(existsSync(path), 'whoever comes next starts another daemon');
});

t.test('a daemon that stays with its tunnels gives up the name of an inherited socket', async (t) => {
  const { path } = setUp(t);
  const child = await startActivated(t, path);
  await reach(path);
  child.stdin!.end('staying');
  await once(child, 'exit');
  t.notOk(existsSync(path), 'another daemon can have it');
});
