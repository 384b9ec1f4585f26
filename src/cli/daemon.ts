// `keyhole daemon start|stop|logs`. As a rule nobody needs it: the first connection starts the daemon, and time ends it.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { sleep, systemClock } from '../clock.ts';
import { FrameType } from '../control/frame.ts';
import { expectFrame } from '../control/link.ts';
import { KeyholeError } from '../errors.ts';
import { connectDaemon, findDaemon } from '../helper/connect.ts';
import { isProcessAlive } from '../process-life.ts';
import { ownPaths, usableSshDir } from './own-paths.ts';
import type { VerbContext } from './run.ts';

export async function daemonStart({ env, signal, terminal }: VerbContext): Promise<void> {
  const link = await connectDaemon({ sshDir: usableSshDir(env), env, clock: systemClock, signal });
  link.socket.destroy();
  terminal.print('the daemon is running');
}

export async function daemonStop({ env, signal, terminal }: VerbContext): Promise<void> {
  const stopped = await stopDaemon(usableSshDir(env), signal);
  terminal.print(stopped ? 'the daemon has stopped' : 'no daemon is running');
}

/** Ends its tunnels; resolves when it is gone. @returns whether there was one. @throws KeyholeError `daemon-stop` */
export async function stopDaemon(sshDir: string, signal: AbortSignal): Promise<boolean> {
  const found = await findDaemon({ sshDir, clock: systemClock, signal });
  if (found === undefined) return false;
  const { link, hello } = found;
  link.send(FrameType.retire, { how: 'stop', reason: 'keyhole daemon stop' });
  expectFrame(await link.receive(), FrameType.done);
  link.socket.destroy();
  for (let waited = 0; isProcessAlive(hello.pid); waited += pollMs) {
    if (waited > stopTimeoutMs) {
      throw new KeyholeError('daemon-stop', `the daemon (pid ${hello.pid}) still runs`, { hint: `kill ${hello.pid}` });
    }
    await sleep(systemClock, pollMs);
  }
  return true;
}

const pollMs = 20;
const stopTimeoutMs = 5_000;
const shownBytes = 64 * 1024;

/** The end of the daemon's log. */
export async function daemonLogs({ env, terminal }: VerbContext): Promise<void> {
  const { stateDir } = ownPaths(env);
  const file = stateDir && join(stateDir, 'daemon.log');
  const text = file === undefined ? undefined : readEnd(file);
  if (text === undefined) throw new KeyholeError('no-log', `there is no log at ${file ?? 'all: there is no home'}`);
  terminal.print(text);
}

function readEnd(file: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(file, 'r');
  } catch {
    return undefined;
  }
  try {
    const { size } = fstatSync(fd);
    const bytes = Buffer.alloc(Math.min(size, shownBytes));
    readSync(fd, bytes, 0, bytes.length, size - bytes.length);
    const text = bytes.toString('utf8');
    return size > bytes.length ? text.slice(text.indexOf('\n') + 1) : text;
  } finally {
    closeSync(fd);
  }
}
