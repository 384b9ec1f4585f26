import { once } from 'node:events';
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Keyring } from '../../src/agent/keyring.ts';
import { AgentSockets, type AgentWish } from '../../src/daemon/agent-sockets.ts';
import { KeyPush } from '../../src/keypush/key-push.ts';
import { silent } from '../../src/log.ts';
import { ManualClock } from '../manual-clock.ts';
import { shortFolder } from '../unix-sockets.ts';

async function setUp(t: Test, general = true) {
  const sshDir = join(shortFolder(t), 'k');
  const clock = new ManualClock();
  const keyring = new Keyring({ clock, lifetimeMs: 3_600_000 });
  const keyPush = new KeyPush(clock, silent);
  const open = (isGeneral = general) =>
    AgentSockets.open({ sshDir, upstream: undefined, keyring, keyPush, clock, log: silent, general: isGeneral });
  const sockets = await open();
  t.teardown(() => sockets.stop());
  return { sshDir, sockets, open };
}

const wish = (more: Partial<AgentWish> = {}): AgentWish => ({
  host: 'i-1',
  port: 22,
  user: 'u',
  push: undefined,
  upstream: undefined,
  allowUnbound: false,
  hostKeys: undefined,
  ...more,
});
const general = (sshDir: string) => join(sshDir, 'agent.sock');
const inode = (path: string) => statSync(path).ino;

async function reachable(path: string): Promise<boolean> {
  const socket = createConnection(path);
  const [event] = await Promise.race([
    once(socket, 'connect').then(() => ['connect']),
    once(socket, 'error').then(() => ['error']),
  ]);
  socket.destroy();
  return event === 'connect';
}

t.test('a target has one socket, made once for all who want it together', async (t) => {
  const { sshDir, sockets } = await setUp(t);
  await Promise.all(Array.from({ length: 30 }, () => sockets.serve(wish())));
  const path = join(sshDir, 'agent', 'u@i-1:22');
  t.strictSame(readdirSync(join(sshDir, 'agent')), ['u@i-1:22']);
  const before = inode(path);
  await sockets.serve(wish());
  t.equal(inode(path), before);
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.ok(await reachable(path));
});

t.test('one that was removed is made anew, by all who notice together once', async (t) => {
  const { sshDir, sockets } = await setUp(t);
  await sockets.serve(wish());
  rmSync(join(sshDir, 'agent', 'u@i-1:22'));
  await Promise.all(Array.from({ length: 10 }, () => sockets.serve(wish())));
  t.ok(await reachable(join(sshDir, 'agent', 'u@i-1:22')));
  t.strictSame(readdirSync(join(sshDir, 'agent')), ['u@i-1:22']);
});

t.test('the general one is kept open where its name is lost, and not touched otherwise', async (t) => {
  const { sshDir, sockets, open } = await setUp(t);
  const before = inode(general(sshDir));
  await sockets.keepOpen();
  t.equal(inode(general(sshDir)), before);
  // Another daemon takes the name, and goes.
  const other = await open();
  await other.stop();
  t.notOk(existsSync(general(sshDir)));
  await sockets.keepOpen();
  t.ok(await reachable(general(sshDir)));
  await sockets.stop();
  await sockets.keepOpen();
  t.notOk(existsSync(general(sshDir)), 'and not after the end');
});

t.test('a daemon for one connection serves its target and leaves the general socket to its owner', async (t) => {
  const { sshDir, open } = await setUp(t);
  const before = inode(general(sshDir));
  const own = await open(false);
  await own.serve(wish({ host: 'i-2' }));
  t.ok(await reachable(join(sshDir, 'agent', 'u@i-2:22')));
  await own.keepOpen();
  await own.stop();
  t.equal(inode(general(sshDir)), before);
  t.ok(await reachable(general(sshDir)));
});

t.test('sockets are bounded: the one wanted longest ago goes', async (t) => {
  const { sshDir, sockets } = await setUp(t);
  for (let n = 0; n < 512; n++) await sockets.serve(wish({ port: n + 1 }));
  await sockets.serve(wish({ port: 1 }));
  await sockets.serve(wish({ port: 600 }));
  const left = () => readdirSync(join(sshDir, 'agent'));
  while (left().length > 512) await new Promise((resolve) => setImmediate(resolve));
  t.ok(left().includes('u@i-1:1'));
  t.notOk(left().includes('u@i-1:2'));
});

t.test('a path too long for a socket is told, and harms no other', async (t) => {
  const { sshDir, sockets } = await setUp(t);
  await t.rejects(sockets.serve(wish({ host: 'h'.repeat(100) })), { code: 'socket-path' });
  await t.rejects(sockets.serve(wish({ host: 'h'.repeat(100) })), { code: 'socket-path' });
  await sockets.serve(wish());
  t.ok(await reachable(join(sshDir, 'agent', 'u@i-1:22')));
});

t.test('at the end no socket is left', async (t) => {
  const { sshDir, sockets } = await setUp(t);
  await sockets.serve(wish());
  await sockets.stop();
  t.strictSame(readdirSync(join(sshDir, 'agent')), []);
  t.notOk(existsSync(general(sshDir)));
});
