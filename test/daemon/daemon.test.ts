// The life of a daemon: when it listens, and what it leaves.
import { readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { Daemon } from '../../src/daemon/daemon.ts';
import { setStage, until } from './stage.ts';

t.test('one that is stopped leaves no socket, also before or while it comes to listen', async (t) => {
  const { folder, parts } = await setStage(t);
  const socket = () => readdirSync(folder).includes('control.sock');
  const start = () => new Daemon({ sshDir: folder, parts, idleTimeoutMs: 60_000, leftSessions: () => [] });

  const early = start();
  early.stop('told to stop');
  await early.run();
  t.equal(socket(), false, 'before');

  const between = start();
  const over = between.run();
  between.stop('told to stop');
  await over;
  t.equal(socket(), false, 'while');

  const late = start();
  const running = late.run();
  await until('it listens', socket);
  const client = connect(join(folder, 'control.sock'));
  await new Promise((resolve) => client.once('connect', resolve));
  client.destroy();
  late.stop('told to stop');
  await running;
  t.equal(socket(), false, 'after');
});
