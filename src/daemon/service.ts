// Answers on control sockets: one connection, one conversation (PROTOCOL.md, "The control socket"). It owns the table of
// tunnels; sockets, signals and the life of the process are daemon.ts's.
import type { Socket } from 'node:net';
import { type Frame, FrameType } from '../control/frame.ts';
import { ControlLink, expectFrame } from '../control/link.ts';
import {
  type ForwardingReply,
  type Hello,
  type OpenRequest,
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
import { isProcessAlive, processStart } from '../process-life.ts';
import { version } from '../version.ts';
import { askCaller } from './ask-caller.ts';
import { CallerLine } from './caller-line.ts';
import type { ForwardStatus } from './forward.ts';
import { Forwards } from './forwards.ts';
import { isSame, KnownRequests } from './knocks.ts';
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
/** Who knocked and does not come is not waited for; a start of Node takes a tenth of a second. */
const comesWithinMs = 10_000;
/** How often a process that knocked is looked after: one that was killed must not keep a session for 3 s. */
const lookMs = 250;

/** A tunnel that was begun for a process that has not asked yet. */
interface Expected {
  request: OpenRequest;
  tunnel: Tunnel;
  line: CallerLine;
  /** Nothing is left of it. */
  over: Promise<void>;
}

export class Service {
  readonly #options: ServiceOptions;
  readonly #since: number;
  readonly #stop = new AbortController();
  readonly #tunnels = new Map<number, Tunnel>();
  readonly #known: KnownRequests;
  /** By process id. */
  readonly #expected = new Map<number, Expected>();
  #conversations = 0;
  #lastId = 0;
  readonly #forwards: Forwards;
  #draining = false;

  constructor(options: ServiceOptions) {
    this.#options = options;
    this.#forwards = new Forwards(options.parts, () => this.#checkIdle());
    this.#since = options.parts.clock.wallTime();
    this.#known = new KnownRequests(options.parts.clock);
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
    for (const pid of this.#expected.keys()) this.#giveUp(pid);
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

  /** A process is about to ask (knocks.ts): what it will ask for is begun, if that is known. */
  knocked(pid: number): void {
    if (this.draining || this.#expected.has(pid)) return;
    const request = this.#known.recall(pid);
    if (request === undefined) return;
    const line = new CallerLine();
    const tunnel = new Tunnel(++this.#lastId, request, this.#options.parts);
    this.#options.parts.log('info', 'begun for a knock', { tunnel: tunnel.id, client: pid });
    this.#conversations += 1;
    const over = this.#run(tunnel, request, line).finally(() => {
      this.#conversations -= 1;
      this.#checkIdle();
    });
    this.#expected.set(pid, { request, tunnel, line, over });
    this.#lookAfter(pid);
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
    const request = parseOpenRequest(frame.body);
    const expected = this.#takeExpected(request);
    if (expected !== undefined) {
      expected.tunnel.setRequest(request);
      expected.line.connect(link);
      return await expected.over;
    }
    const tunnel = new Tunnel(++this.#lastId, request, this.#options.parts);
    const over = this.#run(tunnel, request, new CallerLine(link));
    this.#known.remember(request);
    await over;
  }

  async #run(tunnel: Tunnel, request: OpenRequest, line: CallerLine): Promise<void> {
    this.#tunnels.set(tunnel.id, tunnel);
    try {
      await tunnel.run(line, this.#stop.signal);
    } finally {
      this.#tunnels.delete(tunnel.id);
      if (!tunnel.wasReady) this.#known.forget(request);
    }
  }

  /** What was begun for the process that asks now, if it is what it asks for. */
  #takeExpected(request: OpenRequest): Expected | undefined {
    const { pid } = request.caller;
    const expected = this.#expected.get(pid);
    if (expected === undefined) return undefined;
    if (isSame(expected.request, request)) {
      this.#expected.delete(pid);
      return expected;
    }
    this.#giveUp(pid);
    return undefined;
  }

  #lookAfter(pid: number): void {
    const { clock } = this.#options.parts;
    const expected = this.#expected.get(pid);
    const start = processStart(pid);
    const until = clock.now() + comesWithinMs;
    const look = () => {
      if (this.#expected.get(pid) !== expected) return;
      if (clock.now() < until && isProcessAlive(pid, start)) clock.after(lookMs, look);
      else this.#giveUp(pid);
    };
    clock.after(lookMs, look);
  }

  #giveUp(pid: number): void {
    this.#expected.get(pid)?.line.giveUp();
    this.#expected.delete(pid);
  }
}
