// One EICE tunnel: a websocket joined with a TCP connection to the instance, raw bytes either way (protocol.md 9.3).
// There is no half-close: the end of either side ends both, after what was taken has been delivered.
import { connect, type Socket } from 'node:net';
import type { Clock, Timer } from '../../../src/clock.ts';
import type { ClientLeg } from '../gateway/client-leg.ts';
import type { Cut, DirectionFaults, Faults, Random } from '../gateway/faults.ts';
import { Link } from '../gateway/link.ts';
import type { EiceSettings } from '../options.ts';
import type { ServerWebSocket } from './server-web-socket.ts';
import type { TunnelEnd, TunnelRecord } from './tunnel-record.ts';

/** What may happen to the bytes of a stream that loses none. */
export type LineFaults = Pick<DirectionFaults, 'delayMs' | 'bytesPerSecond'>;
export type EiceFaults = Record<'up' | 'down', LineFaults>;

/** Where the instance's port really is; or what becomes of the attempt. */
export type Destination = { host: string; port: number } | 'refused' | 'no answer';

export interface TunnelParts {
  leg: ClientLeg;
  webSocket: ServerWebSocket;
  record: TunnelRecord;
  destination: Destination;
  clock: Clock;
  serviceTime: () => number;
  settings: EiceSettings;
  faults: Faults;
  random: Random;
}

/** Behind the last bytes of a direction. */
const end = Buffer.alloc(0);

export class Tunnel {
  readonly record: TunnelRecord;
  /** Once: the tunnel counts no longer. */
  onEnd: () => void = () => {};
  /** Once: its websocket is gone too. */
  onClose: () => void = () => {};
  readonly #parts: TunnelParts;
  readonly #up: Link;
  readonly #down: Link;
  readonly #timers: Timer[] = [];
  #ping: Timer | undefined;
  #target: Socket | undefined;

  constructor(parts: TunnelParts) {
    this.#parts = parts;
    this.record = parts.record;
    const { clock, faults, random } = parts;
    this.#up = new Link(faults.up, random, clock, (bytes) => this.#toTarget(bytes));
    this.#down = new Link(faults.down, random, clock, (bytes) => this.#toClient(bytes));
  }

  /** From the 101 on; `onEnd` may be called at once. */
  start(): void {
    const { clock, settings } = this.#parts;
    this.#watchClient();
    this.#timers.push(
      clock.after(this.record.maxTunnelDuration * 1000, () => this.#abort('expired', settings.expired)),
    );
    this.#schedulePing();
    this.#dial();
  }

  cut(cut: Cut): void {
    if (cut.by !== 'freeze') this.#end('cut');
    if (cut.by === 'close') this.record.closeSent = { code: cut.code, reason: cut.reason ?? '' };
    this.#parts.leg.cut(cut);
  }

  /** The region stops. */
  destroy(): void {
    this.#end('cut');
    this.#target?.destroy();
    this.#parts.leg.destroy();
  }

  #watchClient(): void {
    const { leg, webSocket } = this.#parts;
    const { record } = this;
    webSocket.on('frame', (length) => {
      if (length === 0) record.errors.push('zero-length frame');
      else record.traffic.up.messages += 1;
    });
    leg.onMessage = (bytes) => {
      record.traffic.up.bytes += bytes.length;
      if (!this.#up.push(bytes)) leg.pause();
    };
    this.#up.onDrain = () => leg.resume();
    leg.onDrain = () => this.#down.resume();
    webSocket.on('text', () => {
      record.errors.push('TEXT frame');
      this.#abort('protocol error', { code: 1003, reason: 'TEXT is not supported' });
    });
    webSocket.on('ping', () => {
      record.pings += 1;
    });
    webSocket.on('pong', () => {
      record.pongs += 1;
    });
    webSocket.on('broken', (why) => {
      record.errors.push(why);
      this.#end('protocol error');
      this.#target?.destroy();
    });
    webSocket.on('close', (code) => {
      record.closeReceived = code;
      this.#end('client');
      this.#down.close();
      if (code === 1006) this.#target?.destroy();
      else this.#up.pushInOrder(end);
      this.onClose();
    });
  }

  #dial(): void {
    const { destination, clock, settings } = this.#parts;
    const unreachable = () => this.#abort('unreachable', settings.unreachable);
    if (destination === 'refused') {
      unreachable();
      return;
    }
    const timeout = clock.after(settings.connectTimeoutMs, unreachable);
    this.#timers.push(timeout);
    if (destination === 'no answer') return;
    const target = connect({ ...destination, noDelay: true });
    this.#target = target;
    let connected = false;
    target.once('connect', () => {
      connected = true;
      this.record.connectedAt = this.#parts.serviceTime();
      timeout.cancel();
    });
    target.on('error', () => (connected ? this.#abort('lost', settings.lost) : unreachable()));
    target.on('data', (bytes) => {
      const { down } = this.record.traffic;
      down.messages += 1;
      down.bytes += bytes.length;
      if (!this.#down.push(bytes)) target.pause();
    });
    target.on('drain', () => this.#up.resume());
    target.on('end', () => this.#down.pushInOrder(end));
    this.#down.onDrain = () => target.resume();
  }

  #toTarget(bytes: Buffer): boolean {
    const target = this.#target;
    if (bytes === end) {
      target?.destroySoon();
      return true;
    }
    if (target === undefined) return false;
    // What came together goes on together.
    if (target.writableCorked === 0) {
      target.cork();
      process.nextTick(() => target.uncork());
    }
    return target.write(bytes);
  }

  #toClient(bytes: Buffer): boolean {
    if (bytes !== end) return this.#parts.leg.send(bytes);
    this.#close('target', { code: 1000, reason: '' });
    return true;
  }

  /** Ends it now, whatever is on its way. */
  #abort(by: TunnelEnd, close: { code: number; reason: string }): void {
    this.#target?.destroy();
    this.#close(by, close);
  }

  #close(by: TunnelEnd, close: { code: number; reason: string }): void {
    if (this.record.endedBy !== undefined) return;
    this.#end(by);
    this.record.closeSent = close;
    this.#up.close();
    this.#down.close();
    this.#parts.leg.resume(); // To see the client's answer.
    this.#parts.leg.close(close.code, close.reason);
  }

  #end(by: TunnelEnd): void {
    if (this.record.endedBy !== undefined) return;
    this.record.endedBy = by;
    this.record.endedAt = this.#parts.serviceTime();
    for (const timer of this.#timers) timer.cancel();
    this.#ping?.cancel();
    this.onEnd();
  }

  #schedulePing(): void {
    const { clock, settings, webSocket } = this.#parts;
    if (settings.pingIntervalMs === undefined) return;
    this.#ping = clock.after(settings.pingIntervalMs, () => {
      if (webSocket.isOpen) webSocket.ping();
      this.#schedulePing();
    });
  }
}
