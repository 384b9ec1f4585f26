// A daemon that a test plays, and `keyhole proxy` as a process in front of it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join, resolve } from 'node:path';
import type { Test } from 'tap';
import { FrameType } from '../../src/control/frame.ts';
import { ControlLink } from '../../src/control/link.ts';
import { type Hello, protocolVersion } from '../../src/control/message.ts';
import { version } from '../../src/version.ts';
import { shortFolder } from '../unix-sockets.ts';

export const main = resolve(import.meta.dirname, '../../src/main.ts');
/** The system's, if it has one: those of version managers take long to start. */
const python = existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3';
/** Plays ssh with ProxyUseFdpass: followed by how often, and the command. */
export const playSsh = [python, resolve(import.meta.dirname, 'ssh.py')];
export const target = 'i-0123456789abcdef0';

export type Behaviour = (link: ControlLink) => Promise<void> | void;

/** @param behaviour what the daemon does with a caller whose hello it has read */
export async function setUp(t: Test, behaviour: Behaviour, hello: Partial<Hello> = {}) {
  const home = shortFolder(t);
  const sshDir = join(home, '.ssh/keyhole');
  mkdirSync(sshDir, { recursive: true, mode: 0o700 });
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, async (socket) => {
    sockets.add(socket);
    const link = new ControlLink(socket);
    link.send(FrameType.hello, { protocol: protocolVersion, version, pid: process.pid, ...hello });
    try {
      await link.receive();
      await behaviour(link);
    } catch {
      socket.destroy();
    }
  });
  server.listen(join(sshDir, 'control.sock'));
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { PATH: process.env.PATH, HOME: home };
}

export function start(t: Test, command: string[], env: NodeJS.ProcessEnv, stdio: 'pipe' | 'ignore' = 'pipe') {
  const child = spawn(command[0]!, command.slice(1), { env, stdio: [stdio, 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout!.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr!.on('data', (chunk) => {
    stderr += chunk;
  });
  t.teardown(() => child.kill('SIGKILL'));
  const ended = once(child, 'close').then(([status, signal]) => ({ status, signal, stdout, stderr }));
  return { child, ended, stdout: () => stdout };
}

export const hasPython = await new Promise((done) => {
  const child = spawn(python, ['--version'], { stdio: 'ignore' });
  child.on('error', () => done(false));
  child.on('exit', (status) => done(status === 0));
});
