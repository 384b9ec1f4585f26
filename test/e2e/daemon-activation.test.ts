// A daemon whose socket systemd has: started by the first connection, and the socket stays when it goes. systemd's own tool
// stands for its user manager (systemd-socket-activate(1)), which no test can count on.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openDaemonBench, works } from './daemon-bench.ts';
import { keyhole, until } from './fixture.ts';

const tool = 'systemd-socket-activate';
const has = spawnSync(tool, ['--version']).error === undefined;

t.test(
  'the first connection starts it, no other daemon is started, and its socket is left',
  { skip: !has && `${tool} is not installed` },
  async (t) => {
    const bench = await openDaemonBench(t);
    const socket = join(bench.sshDir, 'control.sock');
    mkdirSync(bench.sshDir, { recursive: true, mode: 0o700 });
    const manager = bench.start(tool, ['-l', socket, '-E', 'HOME', keyhole, 'daemon', 'run']);
    await until('systemd listens', () => existsSync(socket));
    t.equal(bench.log(), '', 'nothing runs before somebody connects');
    t.match(await bench.works(), works);
    t.match(await bench.works(), works);
    t.same(bench.daemons(), [manager.pid], 'the one that systemd started');
    t.match(await bench.keyhole(['daemon', 'stop']), { status: 0, text: 'the daemon has stopped\n' });
    t.equal((await manager.exit).status, 0);
    t.ok(existsSync(socket), 'systemd would start another');
    unlinkSync(socket); // as systemd would, in the end
  },
);
