// Gets a control socket to a daemon of at least our version, starting one if there is none.
import { lstatSync } from 'node:fs';
import { connect as connectSocket, Socket } from 'node:net';
import { join } from 'node:path';
import { type Clock, sleep } from '../clock.ts';
import { FrameType } from '../control/frame.ts';
import { ControlLink, expectFrame } from '../control/link.ts';
import { type Hello, parseHello, protocolVersion } from '../control/message.ts';
import { KeyholeError, UsageError } from '../errors.ts';
import { assertPrivateFolder, assertSocketPath, ensurePrivateFolder } from '../private-folder.ts';
import { version } from '../version.ts';
import { type DaemonProcess, spawnDaemon, spawnPrivateDaemon } from './spawn-daemon.ts';
import { takeStartLock } from './start-lock.ts';

export interface FindOptions {
  /** `~/.ssh/keyhole`. */
  sshDir: string;
  clock: Clock;
  /** Ends the waiting. */
  signal: AbortSignal;
}

export interface ConnectOptions extends FindOptions {
  env: NodeJS.ProcessEnv;
  /** A daemon has just been started: what it will ask for can be looked up beside that. */
  onStart?(): void;
}

/** How often a daemon that is starting is looked for by who started it, and by all others, who may be many. */
const ownPollMs = 4;
const pollMs = 10;
/** A daemon that does not listen after this long could not be started; leaves time to do without (deadline: 14 s). */
const startTimeoutMs = 8_000;
/** A daemon that is alive greets as soon as it accepts. */
const greetTimeoutMs = 4_000;
/** A daemon that ends while it starts is not started for ever. */
const maxStarts = 2;

/**
 * @throws KeyholeError `unsafe-folder`, `no-folder`, `socket-path`, `daemon-start`, `daemon-silent`, `daemon-newer`,
 * `daemon-connect`; or the signal's reason
 */
export async function connectDaemon(options: ConnectOptions): Promise<ControlLink> {
  const { sshDir, env, clock, signal } = options;
  const path = controlSocketPath(sshDir);
  assertSocketPath(path);
  ensurePrivateFolder(sshDir);
  const until = clock.now() + startTimeoutMs;
  let release: (() => void) | undefined;
  let daemon: DaemonProcess | undefined;
  let starts = 0;
  try {
    for (;;) {
      signal.throwIfAborted();
      const found = await meet(path, options);
      if (found instanceof ControlLink) return found;
      if (found === 'absent' && (daemon === undefined || daemon.failed)) {
        if (starts === maxStarts) throw notStarted('ends as soon as it is started');
        if (release !== undefined) {
          assertAgentFolder(sshDir);
          daemon = spawnDaemon(env);
          options.onStart?.();
          starts += 1;
        } else {
          release = takeStartLock(join(sshDir, 'start.lock'));
          // Whoever had the lock before us may just have been done: look again before starting another.
          if (release !== undefined) continue;
        }
      }
      if (clock.now() > until) throw notStarted(`did not start within ${startTimeoutMs / 1000} s`);
      await sleep(clock, daemon === undefined ? pollMs : ownPollMs, signal);
    }
  } finally {
    release?.();
  }
}

/** The daemon would refuse it too, but nobody hears why it ends. */
function assertAgentFolder(sshDir: string): void {
  const folder = join(sshDir, 'agent');
  if (lstatSync(folder, { throwIfNoEntry: false }) !== undefined) assertPrivateFolder(folder);
}

/** A conversation that warm.pl began, as this process. @throws UsageError `bad-usage` for a descriptor that is no socket */
export function adoptLink(fd: number): ControlLink {
  try {
    return new ControlLink(new Socket({ fd, allowHalfOpen: true, readable: true, writable: true }));
  } catch (cause) {
    throw new UsageError('bad-usage', `--control-fd=${fd} names no socket`, { cause });
  }
}

/** A daemon of our own, for one connection: its end of a socket pair. @throws KeyholeError `daemon-start`; the signal's reason */
export async function connectPrivateDaemon({
  env,
  clock,
  signal,
}: Omit<ConnectOptions, 'sshDir'>): Promise<ControlLink> {
  const child = spawnPrivateDaemon(env);
  const link = new ControlLink(child.stdio[3] as Socket);
  try {
    await greet(link, { clock, signal, timeoutMs: startTimeoutMs });
    return link;
  } catch (error) {
    signal.throwIfAborted();
    throw new KeyholeError('daemon-start', 'a daemon for this connection alone could not be started', {
      hint: '`keyhole daemon run` shows why',
      cause: error,
    });
  }
}

/**
 * As connectDaemon, but undefined where no daemon runs; never starts or replaces one.
 * @throws KeyholeError `daemon-silent`, `daemon-connect`, `control-closed`; or the signal's reason
 */
export async function findDaemon(options: FindOptions): Promise<{ link: ControlLink; hello: Hello } | undefined> {
  const path = controlSocketPath(options.sshDir);
  assertSocketPath(path);
  const socket = await connect(path);
  if (typeof socket === 'string') return undefined;
  const link = new ControlLink(socket);
  return { link, hello: await greet(link, { ...options, timeoutMs: greetTimeoutMs }) };
}

export function controlSocketPath(sshDir: string): string {
  return join(sshDir, 'control.sock');
}

/**
 * A link to a daemon that will do; one that is older is asked to finish what it has and make room. `absent`: nobody
 * listens; `busy`: somebody does, and can't talk just now.
 */
async function meet(path: string, options: FindOptions): Promise<ControlLink | 'absent' | 'busy'> {
  const socket = await connect(path);
  if (typeof socket === 'string') return socket;
  const link = new ControlLink(socket);
  try {
    const hello = await greet(link, { ...options, timeoutMs: greetTimeoutMs });
    if (isOlder(hello.version, version) || hello.protocol < protocolVersion) {
      link.send(FrameType.retire, { how: 'drain', reason: `version ${version} takes over` });
      expectFrame(await link.receive(), FrameType.done);
      socket.destroy();
      return 'absent';
    }
    if (hello.protocol > protocolVersion) throw newer(hello.version);
    return link;
  } catch (error) {
    socket.destroy();
    options.signal.throwIfAborted();
    // It ends, or drains, while we talk to it.
    if (error instanceof KeyholeError && error.code === 'control-closed') return 'busy';
    throw error;
  }
}

/** Both sides' hello. @throws KeyholeError `daemon-silent`, `control-closed`; or the signal's reason */
async function greet(
  link: ControlLink,
  { clock, signal, timeoutMs }: { clock: Clock; signal: AbortSignal; timeoutMs: number },
): Promise<Hello> {
  let why: unknown;
  const giveUp = (reason: unknown) => {
    why = reason;
    link.socket.destroy();
  };
  const timer = clock.after(timeoutMs, () => giveUp(silent(timeoutMs)));
  const abort = () => giveUp(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  try {
    link.send(FrameType.hello, { protocol: protocolVersion, version, pid: process.pid } satisfies Hello);
    return parseHello(expectFrame(await link.receive(), FrameType.hello));
  } catch (error) {
    link.socket.destroy();
    throw why ?? error;
  } finally {
    timer.cancel();
    signal.removeEventListener('abort', abort);
  }
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

function notStarted(how: string): KeyholeError {
  return new KeyholeError('daemon-start', `the daemon ${how}`, {
    hint: '`keyhole daemon run` shows why; `keyhole proxy --no-daemon` does without',
  });
}

function silent(timeoutMs: number): KeyholeError {
  return new KeyholeError(
    'daemon-silent',
    `the daemon accepts connections and has said nothing for ${timeoutMs / 1000} s`,
    {
      hint: '`keyhole daemon logs` shows its pid; kill it, and the next connection starts another',
    },
  );
}

function newer(daemonVersion: string): KeyholeError {
  return new KeyholeError(
    'daemon-newer',
    `the daemon is of version ${daemonVersion}, and this program, ${version}, is older`,
    {
      hint: 'let ssh run the newer one, or end the daemon with `keyhole daemon stop`',
    },
  );
}
