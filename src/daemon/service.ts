// Answers on control sockets: one connection, one conversation (PROTOCOL.md, "The control socket"). It owns the table of
// tunnels; sockets, signals and the life of the process are daemon.ts's.
import type { Socket } from 'node:net';
import { type Frame, FrameType } from '../control/frame.ts';
import { ControlLink, expectFrame } from '../control/link.ts';
import {
  type ForwardingReply,
  type Hello,
  parseForwardRequest,
  parseHello,
  parseNames,
  parseOpenRequest,
  parseRetireRequest,
  protocolVersion,
  type RetireRequest,
} from '../control/message.ts';
import { KeyholeError, ProtocolError, reportOf } from '../errors.ts';
import type { PushState } from '../keypush/key-push.ts';
import { version } from '../version.ts';
import { askCaller } from './ask-caller.ts';
import type { ForwardStatus } from './forward.ts';
import { Forwards } from './forwards.ts';
import type { DaemonParts } from './parts.ts';
import { Tunnel, type TunnelStatus, unexpectedError } from './tunnel.ts';

/** Answer to a `status` frame; `keyhole status --json` prints it. */
export interface DaemonStatus {
  version: string;
  pid: number;
  /** Wall time of its start, ms since 1970. */
  since: number;
  draining: boolean;
  /** Resident set size in bytes. */
  memoryBytes: number;
  tunnels: TunnelStatus[];
  forwards: ForwardStatus[];
  pushes: (Omit<PushState, 'error'> & { code?: string; message?: string })[];
  /** Sessions that a killed daemon left at AWS and that could not be ended yet. */
  leftSessions: { sessionId: string; target: string; region: string }[];
}

export interface ServiceOptions {
  parts: DaemonParts;
  onRetire(request: RetireRequest): void;
  /** The last tunnel or conversation ended. */
  onIdle(): void;
  leftSessions(): DaemonStatus['leftSessions'];
}

/** A peer that says nothing is not waited for. */
const silenceTimeoutMs = 10_000;

export class Service {
  readonly #options: ServiceOptions;
  readonly #since: number;
  readonly #stop = new AbortController();
  readonly #tunnels = new Map<number, Tunnel>();
  #conversations = 0;
  #lastId = 0;
  readonly #forwards: Forwards;
  #draining = false;

  constructor(options: ServiceOptions) {
    this.#options = options;
    this.#forwards = new Forwards(options.parts, () => this.#checkIdle());
    this.#since = options.parts.clock.wallTime();
  }

  get busy(): boolean {
    return this.#conversations > 0 || this.#forwards.size > 0;
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** Brings up what a predecessor had up. Never rejects. */
  async reopenForwards(): Promise<void> {
    await this.#forwards.reopen();
  }

  /** No new tunnels; the old ones finish. */
  drain(): void {
    this.#draining = true;
    this.#forwards.drain();
  }

  get hasTunnels(): boolean {
    return this.#tunnels.size > 0 || this.#forwards.size > 0;
  }

  /** Takes a connection; resolves when it is over. Never rejects. */
  async accept(socket: Socket): Promise<void> {
    const link = new ControlLink(socket);
    this.#conversations += 1;
    try {
      await this.#converse(link);
    } catch (error) {
      const failure = error instanceof KeyholeError ? error : unexpectedError(error);
      if (failure.code !== 'control-closed') {
        this.#options.parts.log('error', 'control conversation failed', { code: failure.code, why: failure.message });
        link.send(FrameType.error, reportOf(failure));
      }
    } finally {
      socket.destroySoon();
      this.#conversations -= 1;
      this.#checkIdle();
    }
  }

  /** Ends all tunnels. */
  stop(): void {
    this.#stop.abort(new KeyholeError('interrupted', 'the daemon was stopped'));
    this.#forwards.closeAll();
  }

  status(): DaemonStatus {
    const { keyPush } = this.#options.parts;
    return {
      version,
      pid: process.pid,
      since: this.#since,
      draining: this.draining,
      memoryBytes: process.memoryUsage.rss(),
      tunnels: [...this.#tunnels.values()].map((tunnel) => tunnel.status()),
      forwards: this.#forwards.status(),
      pushes: keyPush.states().map(({ error, ...state }) => ({
        ...state,
        ...(error && { code: error.code, message: error.message }),
      })),
      leftSessions: this.#options.leftSessions(),
    };
  }

  async #converse(link: ControlLink): Promise<void> {
    link.send(FrameType.hello, { protocol: protocolVersion, version, pid: process.pid } satisfies Hello);
    parseHello(expectFrame(await this.#receive(link), FrameType.hello));
    for (;;) {
      const frame = await this.#receive(link);
      if (frame.type === FrameType.open) return await this.#open(link, frame);
      if (frame.type === FrameType.forward) return await this.#forward(link, frame);
      await this.#answer(link, frame);
    }
  }

  async #receive(link: ControlLink): Promise<Frame> {
    const timer = this.#options.parts.clock.after(silenceTimeoutMs, () => link.socket.destroy());
    try {
      return await link.receive();
    } finally {
      timer.cancel();
    }
  }

  async #answer(link: ControlLink, frame: Frame): Promise<void> {
    switch (frame.type) {
      case FrameType.status:
        link.send(FrameType.statusReply, this.status());
        return;
      case FrameType.retire:
        this.#options.onRetire(parseRetireRequest(frame.body));
        link.send(FrameType.done);
        return;
      case FrameType.down:
        link.send(FrameType.done, { names: await this.#forwards.down(parseNames(frame.body)) });
        return;
      default:
        throw new ProtocolError('control-order', `frame ${frame.type} has no place here`, { side: 'remote' });
    }
  }

  /** Without the caller's wish to detach it, the tunnel lives as long as the conversation. */
  async #forward(link: ControlLink, frame: Frame): Promise<void> {
    if (this.draining) return; // as for open
    const request = parseForwardRequest(frame.body);
    const forward = await this.#forwards.open(request, (wanted) => askCaller(link, wanted));
    link.send(FrameType.forwarding, { locals: forward.locals() } satisfies ForwardingReply);
    if (request.detached) return;
    forward.onEvent = (event) => link.send(FrameType.connection, event);
    const over = AbortSignal.any([link.closed, this.#stop.signal]);
    if (!over.aborted) await new Promise((resolve) => over.addEventListener('abort', resolve, { once: true }));
    await this.#forwards.close(forward);
  }

  #checkIdle(): void {
    if (!this.busy) this.#options.onIdle();
  }

  async #open(link: ControlLink, frame: Frame): Promise<void> {
    // It connected before we began to drain. Without an answer it looks for another daemon (helper/proxy.ts).
    if (this.draining) return;
    const tunnel = new Tunnel(++this.#lastId, parseOpenRequest(frame.body), this.#options.parts);
    this.#tunnels.set(tunnel.id, tunnel);
    try {
      await tunnel.run(link, this.#stop.signal);
    } finally {
      this.#tunnels.delete(tunnel.id);
    }
  }
}
