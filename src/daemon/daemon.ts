// The life of a daemon process: listens, stays while it is needed, and goes in order. There is one way to hand over:
// stop accepting, let the tunnels finish. A newer version asks for it, a lost socket and an error that belongs to no
// tunnel lead to it; only SIGTERM ends tunnels.
import { join } from 'node:path';
import type { Timer } from '../clock.ts';
import type { RetireRequest } from '../control/message.ts';
import { ControlListener } from './listener.ts';
import type { DaemonParts } from './parts.ts';
import { PieceSocket } from './piece-socket.ts';
import { type DaemonStatus, Service } from './service.ts';

export interface DaemonOptions {
  /** Where the control socket goes. */
  sshDir: string;
  /** A descriptor that listens there already. */
  inherited?: number | undefined;
  parts: DaemonParts;
  idleTimeoutMs: number;
  leftSessions(): DaemonStatus['leftSessions'];
}

/** Tunnels have their own bounds; this one is for what they could not foresee. */
const stopTimeoutMs = 2_900;

export class Daemon {
  readonly #options: DaemonOptions;
  readonly #service: Service;
  readonly #ended = Promise.withResolvers<void>();
  #listener: ControlListener | undefined;
  #idle: Timer | undefined;
  #stopTimer: Timer | undefined;

  constructor(options: DaemonOptions) {
    this.#options = options;
    this.#service = new Service({
      parts: options.parts,
      onRetire: (request) => this.#retire(request),
      onIdle: () => this.#onIdle(),
      leftSessions: options.leftSessions,
    });
  }

  /**
   * Listens, and resolves when the daemon's time is over: idle for long enough, drained, or stopped.
   * @throws KeyholeError `already-running`, `control-listen`
   */
  async run(): Promise<void> {
    const { sshDir, inherited, parts } = this.#options;
    this.#listener = await ControlListener.listen({
      path: join(sshDir, 'control.sock'),
      inherited,
      clock: parts.clock,
      onConnection: (socket) => {
        this.#idle?.cancel();
        void this.#service.accept(socket);
      },
      onReplaced: () => this.drain('another daemon took over'),
      onChecked: () => void parts.agents?.keepOpen(),
    });
    // Told to go while it was on its way to listen: then the socket is nobody's.
    if (this.#service.draining) this.#listener.close({ staying: false });
    parts.log('info', 'daemon listens', { pid: process.pid });
    void this.#service.reopenForwards();
    // Whoever started it is on the way, and will need that.
    parts.aws.prepare();
    this.#onIdle();
    await this.#ended.promise;
    this.#stopTimer?.cancel();
    parts.log('info', 'daemon ends', { pid: process.pid });
  }

  /** Serves one connection that is already there, and resolves when it is over. There is no control socket. */
  async runPrivate(fd: number): Promise<void> {
    await this.#service.accept(PieceSocket.open(fd, this.#options.parts.clock));
  }

  /** No new tunnels; ends when the old ones have. */
  drain(reason: string, staying: boolean = this.#service.hasTunnels): void {
    if (this.#service.draining) return;
    this.#options.parts.log('info', 'daemon drains', { reason });
    this.#service.drain();
    this.#listener?.close({ staying });
    this.#onIdle();
  }

  /** Ends the tunnels too, properly: their sessions are ended at AWS. */
  stop(reason: string): void {
    // Unless a successor has them already.
    if (!this.#service.draining) this.#options.parts.forwardList.clear();
    this.drain(reason, false);
    this.#service.stop();
    this.#stopTimer ??= this.#options.parts.clock.after(stopTimeoutMs, () => this.#ended.resolve());
  }

  #retire({ how, reason }: RetireRequest): void {
    if (how === 'stop') this.stop(reason);
    else this.drain(reason);
  }

  #onIdle(): void {
    this.#idle?.cancel();
    if (this.#service.busy) return;
    if (this.#service.draining) {
      this.#ended.resolve();
      return;
    }
    this.#idle = this.#options.parts.clock.after(this.#options.idleTimeoutMs, () => {
      if (this.#service.busy) return;
      if (this.#options.parts.agents?.inUse) this.#onIdle();
      else this.drain('idle');
    });
  }
}
