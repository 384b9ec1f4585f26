// Several tunnels over one line of limited speed, in virtual time: uploads without end, and keystrokes. The client's
// DataChannel against the agent's channel (test/region/agent); everything follows from the options.
import { DataChannel } from '../../src/ssm/channel.ts';
import { MessageType, parseMessage } from '../../src/ssm/message.ts';
import { type AgentAction, AgentChannel } from '../region/agent/channel.ts';
import { Line, type LineOptions } from './line.ts';
import { Random } from './random.ts';

export interface TunnelOptions {
  /** `bulk` writes as fast as it may, `keys` one byte now and then, which the port echoes. */
  kind: 'bulk' | 'keys';
  fromMs?: number;
  toMs?: number;
}

export interface TrafficOptions {
  up: LineOptions;
  /** Of the way back, where it is not just the delay of the way there. */
  down?: Partial<LineOptions>;
  tunnels: TunnelOptions[];
  durationMs: number;
  /** Things that happen to the line. */
  events?: { at: number; change(up: Line, down: Line): void }[];
  seed?: number;
}

const epoch = Date.UTC(2026, 0, 1);
/** What ssh's socket gives at once. */
const chunk = Buffer.alloc(64 * 1024);
const keystrokeMs = 100;
/** Nothing is measured while handshakes and the first growth are under way. */
const sampleMs = 20;

export function runTraffic(options: TrafficOptions): Traffic {
  const traffic = new Traffic(options);
  traffic.run();
  return traffic;
}

export class Traffic {
  readonly tunnels: Tunnel[];
  /** Of the line there, every 20 ms. */
  readonly queue: { at: number; ms: number }[] = [];
  readonly #options: TrafficOptions;
  readonly #events: { at: number; order: number; happen(): void }[] = [];
  #scheduled = 0;
  now = 0;

  constructor(options: TrafficOptions) {
    this.#options = options;
    const { up, down, seed = 1, tunnels, events = [] } = options;
    const upLine = new Line(up, new Random(seed, 'up'));
    const downLine = new Line({ bytesPerSecond: Infinity, delayMs: up.delayMs, ...down }, new Random(seed, 'down'));
    this.tunnels = tunnels.map((each, index) => new Tunnel(this, each, upLine, downLine, new Random(seed, `${index}`)));
    for (const { at, change } of events) this.after(at, () => change(upLine, downLine));
    const sample = () => {
      this.queue.push({ at: this.now, ms: upLine.queueMs(this.now) });
      this.after(sampleMs, sample);
    };
    sample();
  }

  run(): void {
    for (let event = this.#take(); event !== undefined; event = this.#take()) {
      if (event.at > this.#options.durationMs) break;
      this.now = event.at;
      event.happen();
    }
    this.now = this.#options.durationMs;
  }

  /** Ages of the queue, from a time on. */
  queueFrom(fromMs: number): number[] {
    return this.queue.filter(({ at }) => at >= fromMs).map(({ ms }) => ms);
  }

  after(ms: number, happen: () => void): void {
    this.at(this.now + ms, happen);
  }

  /** A heap, since there are millions of them. */
  at(at: number, happen: () => void): void {
    const heap = this.#events;
    const event = { at, order: this.#scheduled++, happen };
    let index = heap.length;
    heap.push(event);
    for (; index > 0; ) {
      const parent = (index - 1) >> 1;
      if (!isBefore(event, heap[parent]!)) break;
      heap[index] = heap[parent]!;
      index = parent;
    }
    heap[index] = event;
  }

  #take() {
    const heap = this.#events;
    const first = heap[0];
    const last = heap.pop();
    if (last === undefined || first === last) return first;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[index] = heap[child]!;
      index = child;
    }
    heap[index] = last;
    return first;
  }
}

function isBefore(a: { at: number; order: number }, b: { at: number; order: number }): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

export class Tunnel {
  readonly #world: Traffic;
  readonly kind: TunnelOptions['kind'];
  readonly #toMs: number;
  readonly #up: Line;
  readonly #down: Line;
  readonly #agent: AgentChannel;
  readonly channel: DataChannel;
  #wakeAt = Infinity;
  #agentWakeAt = Infinity;
  #written = 0;
  readonly #writes: { end: number; at: number }[] = [];
  #struckAt = 0;
  #heard = 0;
  readonly #numbers = new Set<number>();
  /** Bytes at the port, by time. */
  readonly arrivals: { at: number; bytes: number; ageMs: number }[] = [];
  /** Round trips of keystrokes. */
  readonly strokes: { at: number; ms: number }[] = [];
  resent = 0;
  sent = 0;
  mostInFlight = 0;
  mostHeld = 0;

  constructor(world: Traffic, options: TunnelOptions, up: Line, down: Line, random: Random) {
    this.#world = world;
    this.kind = options.kind;
    this.#toMs = options.toMs ?? Infinity;
    this.#up = up;
    this.#down = down;
    this.channel = new DataChannel({
      clientVersion: '1.2.896.0',
      maxMessagesPerSecond: 900,
      maxPayloadBytes: 32 * 1024,
      epoch,
      uuid: () => random.uuid(),
    });
    this.#agent = new AgentChannel({
      agentVersion: '3.3.1142.0',
      properties: { portNumber: '22' },
      wallTime: () => epoch + Math.floor(world.now),
      newMessageId: () => random.uuid(),
    });
    world.after(options.fromMs ?? 0, () => {
      this.#act(this.#agent.start(world.now));
      if (options.kind === 'keys') this.#strike();
    });
  }

  /** Bytes per second at the port between two times. */
  rate(fromMs: number, toMs = this.#world.now): number {
    let bytes = 0;
    for (const arrival of this.arrivals) if (arrival.at > fromMs && arrival.at <= toMs) bytes += arrival.bytes;
    return (bytes / (toMs - fromMs)) * 1000;
  }

  strokesFrom(fromMs: number): number[] {
    return this.strokes.filter(({ at }) => at >= fromMs).map(({ ms }) => ms);
  }

  /** From the write until the port has them. */
  agesFrom(fromMs: number): number[] {
    return this.arrivals.filter(({ at }) => at >= fromMs).map(({ ageMs }) => ageMs);
  }

  #pump(): void {
    const { now } = this.#world;
    for (;;) {
      this.#write();
      const message = this.channel.next(now);
      if (message === undefined) break;
      this.#count(message);
      const at = this.#up.send(message.length, now);
      if (at !== undefined) this.#world.at(at, () => this.#agentReceives(message));
    }
    this.mostInFlight = Math.max(this.mostInFlight, this.channel.inFlightBytes);
    this.mostHeld = Math.max(this.mostHeld, this.channel.inFlightBytes + this.channel.backlogBytes);
    const deadline = Math.max(this.channel.deadline(now) ?? Infinity, now + 0.01);
    if (deadline >= this.#wakeAt) return;
    this.#wakeAt = deadline;
    this.#world.at(deadline, () => {
      if (this.#wakeAt !== deadline) return;
      this.#wakeAt = Infinity;
      this.#pump();
    });
  }

  #count(message: Buffer): void {
    const { messageType, sequenceNumber } = parseMessage(message);
    if (messageType !== MessageType.inputStreamData) return;
    this.sent += 1;
    if (this.#numbers.has(sequenceNumber)) this.resent += 1;
    this.#numbers.add(sequenceNumber);
  }

  /** As the transport does: the next chunk as soon as the channel has room. */
  #write(): void {
    if (this.kind !== 'bulk' || this.channel.state !== 'open' || this.#world.now >= this.#toMs) return;
    while (this.channel.hasRoom) this.#say(chunk);
  }

  #say(bytes: Buffer): void {
    this.#written += bytes.length;
    this.#writes.push({ end: this.#written, at: this.#world.now });
    this.channel.write(bytes);
  }

  #strike(): void {
    this.#struckAt = this.#world.now;
    this.#say(chunk.subarray(0, 1));
    this.#pump();
  }

  #clientReceives(message: Buffer): void {
    for (const event of this.channel.receive(message, this.#world.now)) {
      if (event.type !== 'output' || event.bytes.length !== 1) continue; // else the port's greeting
      this.strokes.push({ at: this.#struckAt, ms: this.#world.now - this.#struckAt });
      this.#world.after(keystrokeMs, () => this.#strike());
    }
    this.#pump();
  }

  #agentReceives(message: Buffer): void {
    this.#act(this.#agent.receive(message, this.#world.now));
  }

  #act(actions: AgentAction[]): void {
    for (const action of actions) this.#do(action);
    const deadline = Math.max(this.#agent.deadline() ?? Infinity, this.#world.now + 0.01);
    if (deadline >= this.#agentWakeAt) return;
    this.#agentWakeAt = deadline;
    this.#world.at(deadline, () => {
      if (this.#agentWakeAt !== deadline) return;
      this.#agentWakeAt = Infinity;
      this.#act(this.#agent.tick(this.#world.now));
    });
  }

  #do(action: AgentAction): void {
    const { now } = this.#world;
    switch (action.type) {
      case 'message': {
        const { message } = action;
        const at = this.#down.send(message.length, now);
        if (at !== undefined) this.#world.at(at, () => this.#clientReceives(message));
        break;
      }
      case 'dial':
        this.#agent.dialled();
        // As sshd does; afterwards an echo.
        this.#speak(Buffer.from('SSH-2.0-sim\r\n'));
        break;
      case 'write':
        this.#arrive(action.bytes.length);
        if (this.kind === 'keys') this.#speak(action.bytes);
        this.#act(this.#agent.written(now));
        break;
      default:
        throw new Error(`the agent's ${action.type}`);
    }
  }

  #arrive(bytes: number): void {
    const { now } = this.#world;
    this.#heard += bytes;
    while (this.#writes[0]!.end < this.#heard) this.#writes.shift();
    this.arrivals.push({ at: now, bytes, ageMs: now - this.#writes[0]!.at });
  }

  #speak(bytes: Buffer): void {
    const readAt = this.#agent.readAt() ?? this.#world.now;
    this.#world.at(Math.max(readAt, this.#world.now + 0.01), () => {
      this.#act(this.#agent.socketData(bytes, this.#world.now));
    });
  }
}
