// TLS connections that are open before they are wanted: each saves a tunnel the two round trips of TCP and TLS. They are
// made only to hosts that were used minutes ago, at most one for each of a few hosts, and they never carry a byte before
// they are taken: one that nobody takes is closed and opened anew, since what lies idle between us and AWS forgets it.
import type { ClientRequestArgs } from 'node:http';
import { Agent, type AgentOptions } from 'node:https';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { Clock, Timer } from '../clock.ts';

export interface ReadyOptions {
  clock: Clock;
  /** For how long after its last use a host is taken to be wanted again; 0: connections are opened only when asked for. */
  keepMs: number;
}

interface Host {
  host: string;
  port: number;
  /** When it stops being wanted (Clock.now). */
  wantedUntil: number;
  ready?: ReadyConnection | undefined;
}

interface ReadyConnection {
  socket: TLSSocket;
  /** Milliseconds since 1970: a machine that slept has not aged by the other clock. */
  openedAt: number;
  timer: Timer;
}

/** NAT gateways and load balancers forget what is idle for longer; the shortest usual bound is a minute. */
const maxIdleMs = 45_000;
/** A peer that closes sooner does not want connections in advance: there is none until the host is used again. */
const minLifeMs = 5_000;
const maxHosts = 4;

export class ReadyAgent extends Agent {
  readonly #clock: Clock;
  readonly #keepMs: number;
  readonly #hosts = new Map<string, Host>();

  constructor(options: AgentOptions, { clock, keepMs }: ReadyOptions) {
    super(options);
    this.#clock = clock;
    this.#keepMs = keepMs;
  }

  /** A connection to that host will be wanted in a moment: opens one now unless one is there. */
  prepare(host: string, port: number): void {
    const wanted = this.#want(host, port);
    if (wanted.ready === undefined) this.#open(wanted);
  }

  /** The host is used now, and so probably again: once the next connection to it stands, another is made ready. */
  expect(host: string, port: number): void {
    if (this.#keepMs > 0) this.#want(host, port);
  }

  /** Those that are open may lead nowhere: the next use of a host opens its own. */
  forgetReady(): void {
    for (const wanted of this.#hosts.values()) this.#drop(wanted);
  }

  /** Every new connection of an https request comes by here (documented at http.Agent). */
  override createConnection(
    options: ClientRequestArgs,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): Duplex | null | undefined {
    const wanted = this.#hosts.get(keyOf(options.host ?? '', Number(options.port)));
    if (wanted === undefined) return super.createConnection(options, callback);
    const socket = this.#take(wanted) ?? (super.createConnection(options, callback) as TLSSocket);
    // Not before it stands: what is wanted now comes first.
    const followUp = () => this.#isWanted(wanted) && wanted.ready === undefined && this.#open(wanted);
    if (socket.authorized) setImmediate(followUp);
    else socket.once('secureConnect', followUp);
    return socket;
  }

  override destroy(): void {
    for (const wanted of this.#hosts.values()) this.#forget(wanted);
    super.destroy();
  }

  #want(host: string, port: number): Host {
    const key = keyOf(host, port);
    const wanted = this.#hosts.get(key) ?? { host, port, wantedUntil: 0 };
    wanted.wantedUntil = this.#clock.now() + this.#keepMs;
    // The one used last comes last.
    this.#hosts.delete(key);
    this.#hosts.set(key, wanted);
    const [oldest] = this.#hosts.values();
    if (this.#hosts.size > maxHosts) this.#forget(oldest!);
    return wanted;
  }

  #isWanted(wanted: Host): boolean {
    return this.#hosts.has(keyOf(wanted.host, wanted.port)) && this.#clock.now() < wanted.wantedUntil;
  }

  #open(wanted: Host): void {
    const { host, port } = wanted;
    const options = { ...this.options, host, port, servername: isIP(host) === 0 ? host : '' };
    const socket = super.createConnection(options as ClientRequestArgs) as TLSSocket;
    socket.unref();
    const ready = {
      socket,
      openedAt: this.#clock.wallTime(),
      timer: this.#clock.after(maxIdleMs, () => this.#replace(wanted)),
    };
    wanted.ready = ready;
    // It was nobody's request: whoever comes next makes a connection of its own, and hears why that fails.
    socket.on('error', ignore);
    socket.once('close', () => {
      if (wanted.ready !== ready) return;
      const livedMs = this.#clock.wallTime() - ready.openedAt;
      if (livedMs >= minLifeMs) this.#replace(wanted);
      else this.#forget(wanted);
    });
  }

  #replace(wanted: Host): void {
    if (!this.#isWanted(wanted)) {
      this.#forget(wanted);
      return;
    }
    this.#drop(wanted);
    this.#open(wanted);
  }

  #take(wanted: Host): TLSSocket | undefined {
    const { ready } = wanted;
    if (ready === undefined) return undefined;
    const age = this.#clock.wallTime() - ready.openedAt;
    const { socket } = ready;
    // The timer should have ended it before; where it has not, the machine slept or its clock was set.
    const isFresh = age >= 0 && age <= maxIdleMs && !socket.destroyed && socket.readable && socket.writable;
    if (!isFresh) {
      this.#drop(wanted);
      return undefined;
    }
    wanted.ready = undefined;
    ready.timer.cancel();
    socket.removeListener('error', ignore);
    socket.ref();
    return socket;
  }

  #drop(wanted: Host): void {
    const { ready } = wanted;
    wanted.ready = undefined;
    ready?.timer.cancel();
    ready?.socket.destroy();
  }

  #forget(wanted: Host): void {
    this.#drop(wanted);
    this.#hosts.delete(keyOf(wanted.host, wanted.port));
  }
}

function keyOf(host: string, port: number): string {
  return `${host.toLowerCase()}:${port}`;
}

function ignore(): void {}
