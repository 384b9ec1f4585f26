// Asks the daemon for a local tunnel, starting a daemon if there is none.
import { systemClock } from '../clock.ts';
import { FrameType } from '../control/frame.ts';
import { type ControlLink, expectFrame } from '../control/link.ts';
import { type ForwardRequest, parseError, parseForwardingReply } from '../control/message.ts';
import { KeyholeError, reportOf } from '../errors.ts';
import { connectDaemon } from '../helper/connect.ts';
import { askOwnProcess } from '../own-process.ts';
import { callerSurroundings } from './caller-surroundings.ts';
import { usableSshDir } from './own-paths.ts';
import { resolveArguments } from './resolve-arguments.ts';
import type { VerbContext } from './run.ts';

/** A daemon that drains under a request is no reason to fail: the next one may do. */
const maxDaemons = 3;

/** The link, with the conversation going on, and where the tunnel listens. @throws KeyholeError */
export async function askForward(
  request: Omit<ForwardRequest, 'caller'>,
  { env, signal }: VerbContext,
): Promise<{ link: ControlLink; locals: string[] }> {
  const caller = { ...callerSurroundings(env), pid: process.pid, parentPid: process.ppid };
  for (let daemons = 1; ; daemons++) {
    const link = await connectDaemon({ sshDir: usableSshDir(env), env, clock: systemClock, signal });
    const abort = () => link.socket.destroy();
    signal.addEventListener('abort', abort, { once: true });
    try {
      link.send(FrameType.forward, { ...request, caller } satisfies ForwardRequest);
      for (;;) {
        const frame = await link.receive();
        if (frame.type === FrameType.resolve) await answerResolve(link, frame.body, env, signal);
        else if (frame.type === FrameType.error) throw parseError(frame.body);
        else return { link, ...parseForwardingReply(expectFrame(frame, FrameType.forwarding)) };
      }
    } catch (error) {
      abort();
      signal.throwIfAborted();
      const isClosed = error instanceof KeyholeError && error.code === 'control-closed';
      if (!isClosed || daemons === maxDaemons) throw error;
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }
}

/** The daemon wants the AWS settings of our surroundings. Tells it, too, why there is no answer. */
export async function answerResolve(
  link: ControlLink,
  wanted: Record<string, unknown>,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<void> {
  try {
    link.send(FrameType.resolved, await askOwnProcess(resolveArguments(wanted), callerSurroundings(env), signal));
  } catch (error) {
    if (!(error instanceof KeyholeError)) throw error;
    link.send(FrameType.error, reportOf(error));
  }
}
