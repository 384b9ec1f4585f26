// `keyhole forward`: a local tunnel for as long as this process runs. The daemon listens and connects; here is only shown
// what it does.
import { loadSettings } from '../config.ts';
import { FrameType } from '../control/frame.ts';
import { type ControlLink, expectFrame } from '../control/link.ts';
import { type ConnectionEvent, parseConnectionEvent, parseError } from '../control/message.ts';
import { KeyholeError } from '../errors.ts';
import { findPaths } from '../paths.ts';
import { readHost } from '../target/call.ts';
import { parseForwarding } from '../target/forwarding.ts';
import { showBytes, showSpan } from './amounts.ts';
import { answerResolve, askForward } from './ask-forward.ts';
import type { VerbContext } from './run.ts';

export interface ForwardArguments {
  host: string;
  forwardings: string[];
  expose: boolean;
  quiet: boolean;
  json: boolean;
  /** Settings, by flag name. */
  flags: Record<string, string>;
}

export async function forward(
  { host, forwardings, expose, quiet, json, flags }: ForwardArguments,
  context: VerbContext,
): Promise<void> {
  // What is wrong with them is said before a daemon is started.
  const ends = forwardings.map(parseForwarding);
  const file = findPaths(context.env).configFile;
  readHost(host, loadSettings({ flags, env: context.env, file, host }), file);
  const { link, locals } = await askForward({ host, forwardings, expose, detached: false, flags }, context);
  const show = json ? new Lines(context, quiet) : new Words(context, quiet);
  for (const [at, end] of ends.entries()) show.listening(locals[at]!, host, end.remoteHost, end.remotePort);
  const { signal } = context;
  // The daemon then ends the tunnel, tells what became of its connections, and closes.
  const abort = () => link.socket.end();
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  try {
    await showConnections(link, context, show);
  } catch (error) {
    if (!signal.aborted) throw isClosed(error) ? daemonEnded(error) : error;
    show.total();
    throw signal.reason;
  }
}

async function showConnections(link: ControlLink, { env, signal }: VerbContext, show: Show): Promise<never> {
  for (;;) {
    const frame = await link.receive();
    if (frame.type === FrameType.resolve) await answerResolve(link, frame.body, env, signal);
    else if (frame.type === FrameType.error) throw parseError(frame.body);
    else show.connection(parseConnectionEvent(expectFrame(frame, FrameType.connection)));
  }
}

abstract class Show {
  protected readonly print: (text: string) => void;
  protected readonly quiet: boolean;
  protected connections = 0;
  protected failed = 0;
  protected bytesSent = 0;
  protected bytesReceived = 0;

  constructor({ terminal }: VerbContext, quiet: boolean) {
    this.print = (text) => terminal.print(text);
    this.quiet = quiet;
  }

  abstract listening(local: string, host: string, remoteHost: string | undefined, remotePort: number): void;
  abstract total(): void;
  protected abstract tell(event: ConnectionEvent): void;

  connection(event: ConnectionEvent): void {
    if (event.type === 'closed') {
      this.connections += 1;
      this.failed += event.failure === undefined ? 0 : 1;
      this.bytesSent += event.bytesSent;
      this.bytesReceived += event.bytesReceived;
    }
    if (!this.quiet) this.tell(event);
  }
}

/** For people. */
class Words extends Show {
  listening(local: string, host: string, remoteHost: string | undefined, remotePort: number): void {
    const where = remoteHost === undefined ? `port ${remotePort}` : `${remoteHost} port ${remotePort}`;
    // Quiet, too: a port that was picked has to be known.
    this.print(`${local} leads to ${where} ${remoteHost === undefined ? 'of' : 'by way of'} ${host}`);
  }

  total(): void {
    if (this.quiet) return;
    const failed = this.failed === 0 ? '' : `, ${this.failed} failed`;
    this.print(`${count(this.connections)}${failed}; ${amounts(this.bytesSent, this.bytesReceived)}`);
  }

  protected tell(event: ConnectionEvent): void {
    const which = `${event.local} #${event.id}`;
    if (event.type === 'opened') {
      this.print(`${which} opened from ${event.from}`);
      return;
    }
    const { durationMs, bytesSent, bytesReceived, failure } = event;
    const end = failure === undefined ? 'closed' : `failed: ${failure.message}`;
    this.print(`${which} ${end} after ${showSpan(durationMs)}; ${amounts(bytesSent, bytesReceived)}`);
    if (failure?.hint !== undefined) this.print(`${which} hint: ${failure.hint}`);
  }
}

/** For programs: an object a line. */
class Lines extends Show {
  listening(local: string, host: string, remoteHost: string | undefined, remotePort: number): void {
    this.print(JSON.stringify({ type: 'listening', local, host, remoteHost, remotePort }));
  }

  total(): void {
    const { connections, failed, bytesSent, bytesReceived } = this;
    this.print(JSON.stringify({ type: 'total', connections, failed, bytesSent, bytesReceived }));
  }

  protected tell(event: ConnectionEvent): void {
    this.print(JSON.stringify(event));
  }
}

function count(connections: number): string {
  return connections === 1 ? '1 connection' : `${connections} connections`;
}

function amounts(sent: number, received: number): string {
  return `${showBytes(sent)} sent, ${showBytes(received)} received`;
}

function isClosed(error: unknown): boolean {
  return error instanceof KeyholeError && error.code === 'control-closed';
}

function daemonEnded(cause: unknown): KeyholeError {
  return new KeyholeError('daemon-ended', 'the daemon has ended, and the tunnel with it', {
    hint: '`keyhole daemon logs` may say why',
    cause,
  });
}
