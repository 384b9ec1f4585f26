// Gets a control socket to a daemon of at least our version, starting one if there is none.
import { connect as connectSocket, type Socket } from 'node:net';
import { join } from 'node:path';
import { type Clock, sleep } from '../clock.ts';
import { FrameType } from '../control/frame.ts';
import { ControlLink, expectFrame } from '../control/link.ts';
import { type Hello, parseHello, protocolVersion } from '../control/message.ts';
import { KeyholeError } from '../errors.ts';
import { assertSocketPath, ensurePrivateFolder } from '../private-folder.ts';
import { version } from '../version.ts';
import { spawnDaemon, spawnPrivateDaemon } from './spawn-daemon.ts';
import { takeStartLock } from './start-lock.ts';

export interface ConnectOptions {
  /** `~/.ssh/keyhole`. */
  sshDir: string;
  env: NodeJS.ProcessEnv;
  clock: Clock;
  /** Ends the waiting. */
  signal: AbortSignal;
}

/** How often a daemon that is starting is looked for. A connect that is refused costs microseconds. */
const pollMs = 10;
/** A daemon that does not listen after this long could not be started. */
const startTimeoutMs = 10_000;

/** @throws KeyholeError `unsafe-folder`, `no-folder`, `socket-path`, `daemon-start`; or the signal's reason */
export async function connectDaemon(options: ConnectOptions): Promise<ControlLink> {
  const path = controlSocketPath(options.sshDir);
  assertSocketPath(path);
  ensurePrivateFolder(options.sshDir);
  const until = options.clock.now() + startTimeoutMs;
  let release: (() => void) | undefined;
  try {
    for (;;) {
      options.signal.throwIfAborted();
      const link = await greet(path);
      if (link instanceof ControlLink) return link;
      if (link === 'absent' && release === undefined) {
        release = takeStartLock(join(options.sshDir, 'start.lock'));
        if (release !== undefined) spawnDaemon(options.env);
      }
      if (options.clock.now() > until) throw notStarted();
      await sleep(options.clock, pollMs, options.signal);
    }
  } finally {
    release?.();
  }
}

/** A daemon of our own, for one connection: its end of a socket pair. @throws KeyholeError `daemon-start` */
export async function connectPrivateDaemon(env: NodeJS.ProcessEnv): Promise<ControlLink> {
  const child = spawnPrivateDaemon(env);
  const link = new ControlLink(child.stdio[3] as Socket);
  child.unref();
  await exchangeHello(link);
  return link;
}

/** As connectDaemon, but undefined where no daemon runs; never starts or replaces one. */
export async function findDaemon(sshDir: string): Promise<{ link: ControlLink; hello: Hello } | undefined> {
  const path = controlSocketPath(sshDir);
  assertSocketPath(path);
  const socket = await connect(path);
  if (typeof socket === 'string') return undefined;
  const link = new ControlLink(socket);
  return { link, hello: await exchangeHello(link) };
}

export function controlSocketPath(sshDir: string): string {
  return join(sshDir, 'control.sock');
}

/** The other side's hello, after ours. @throws KeyholeError `control-closed` */
export async function exchangeHello(link: ControlLink): Promise<Hello> {
  link.send(FrameType.hello, { protocol: protocolVersion, version, pid: process.pid } satisfies Hello);
  return parseHello(expectFrame(await link.receive(), FrameType.hello));
}

/** A link to a daemon that will do; one that is older is asked to finish what it has and make room. */
async function greet(path: string): Promise<ControlLink | 'absent' | 'busy'> {
  const socket = await connect(path);
  if (typeof socket === 'string') return socket;
  const link = new ControlLink(socket);
  try {
    const hello = await exchangeHello(link);
    if (hello.protocol === protocolVersion && !isOlder(hello.version, version)) return link;
    link.send(FrameType.retire, { how: 'drain', reason: `version ${version} takes over` });
    expectFrame(await link.receive(), FrameType.done);
  } catch (error) {
    // It ended while we talked to it: the same as no daemon.
    if (!(error instanceof KeyholeError)) throw error;
  }
  socket.destroy();
  return 'absent';
}

function connect(path: string): Promise<Socket | 'absent' | 'busy'> {
  return new Promise((resolve, reject) => {
    const socket = connectSocket({ path, allowHalfOpen: true });
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      resolve(socket);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      // Refused: a socket that a killed daemon left behind.
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') resolve('absent');
      // Its backlog is full, or it ends just now.
      else if (error.code === 'EAGAIN' || error.code === 'ECONNRESET') resolve('busy');
      else reject(new KeyholeError('daemon-connect', `cannot connect to ${path}: ${error.code}`, { cause: error }));
    });
  });
}

/** Compares `major.minor.patch`. */
export function isOlder(a: string, b: string): boolean {
  const left = a.split('.').map(Number);
  const right = b.split('.').map(Number);
  for (let i = 0; i < 3; i++) {
    const difference = (left[i] || 0) - (right[i] || 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

function notStarted(): KeyholeError {
  return new KeyholeError('daemon-start', `the daemon did not start within ${startTimeoutMs / 1000} s`, {
    hint: '`keyhole daemon run` shows why; `keyhole proxy --no-daemon` does without',
  });
}
