// One direction between the legs of a session. Without faults a message goes through in the same turn; with them it
// is lost, doubled, overtaken, changed or held back here. Full in both senses: it asks its source to stop when its
// sink does, or when it holds too much itself.
import type { Clock, Timer } from '../../../src/clock.ts';
import type { DirectionFaults, Random } from './faults.ts';

interface Entry {
  message: Buffer;
  dueAt: number;
}

const holdLimitBytes = 1 << 20;
/** An overtaken message is let go after this, should no other message follow it. */
const reorderWaitMs = 50;
const typeOffset = 4;
const acknowledge = Buffer.from('acknowledge ');
const payloadOffset = 120;
const spared = { lose: 0, double: 0, corrupt: 0, reorder: 0 };

export class Link {
  /** After a `push` that returned false: there is room again. */
  onDrain: () => void = () => {};
  readonly #faults: DirectionFaults;
  readonly #random: Random;
  readonly #clock: Clock;
  readonly #deliver: (message: Buffer) => boolean;
  #queue: Entry[] = [];
  #queuedBytes = 0;
  #overtaken: { message: Buffer; after: number }[] = [];
  #sinkFull = false;
  #sourceStopped = false;
  #timer: Timer | undefined;
  #reorderTimer: Timer | undefined;
  #closed = false;

  /** `deliver` always takes the message; false means that the sink is full until `resume`. */
  constructor(faults: DirectionFaults, random: Random, clock: Clock, deliver: (message: Buffer) => boolean) {
    this.#faults = faults;
    this.#random = random;
    this.#clock = clock;
    this.#deliver = deliver;
  }

  /** Always takes the message; false: push no more until `onDrain`. */
  push(message: Buffer): boolean {
    if (this.#closed) return true;
    const { lose, double, corrupt, reorder } = this.#faultsOf(message);
    if (this.#happens(lose)) return !this.#full();
    const copy = this.#happens(corrupt) ? flipBit(message, this.#random) : message;
    const copies = this.#happens(double) ? 2 : 1;
    for (let at = 0; at < copies; at += 1) {
      if (this.#happens(reorder)) this.#holdBack(copy);
      else this.#pass(copy);
    }
    return !this.#full();
  }

  /** The gateway's own message: behind everything that was pushed before, and never subject to chance. */
  pushInOrder(message: Buffer): void {
    if (this.#closed) return;
    this.#releaseOvertaken();
    this.#enqueue(message);
  }

  /** The sink has room again, or is another one. */
  resume(): void {
    this.#sinkFull = false;
    this.#pump();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#reorderTimer?.cancel();
    this.#queue = [];
    this.#overtaken = [];
  }

  #faultsOf(message: Buffer): DirectionFaults | typeof spared {
    const { of } = this.#faults;
    const isAcknowledgement = message.subarray(typeOffset, typeOffset + acknowledge.length).equals(acknowledge);
    return of === 'all' || (of === 'acknowledgements') === isAcknowledgement ? this.#faults : spared;
  }

  #happens(share: number): boolean {
    const happens = share > 0 && this.#random() < share;
    if (happens) this.#faults.struck += 1;
    return happens;
  }

  #full(): boolean {
    this.#sourceStopped = this.#sinkFull || this.#queuedBytes >= holdLimitBytes;
    return this.#sourceStopped;
  }

  #holdBack(message: Buffer): void {
    this.#overtaken.push({ message, after: 1 + Math.floor(this.#random() * 3) });
    this.#reorderTimer ??= this.#clock.after(reorderWaitMs, () => this.#releaseOvertaken());
  }

  #releaseOvertaken(): void {
    this.#reorderTimer?.cancel();
    this.#reorderTimer = undefined;
    for (const { message } of this.#overtaken.splice(0)) this.#enqueue(message);
  }

  #pass(message: Buffer): void {
    this.#enqueue(message);
    if (this.#overtaken.length === 0) return;
    const due = this.#overtaken.filter((held) => {
      held.after -= 1;
      return held.after <= 0;
    });
    this.#overtaken = this.#overtaken.filter((held) => held.after > 0);
    for (const { message: late } of due) this.#enqueue(late);
  }

  #enqueue(message: Buffer): void {
    const dueAt = this.#dueAt(message.length);
    this.#queue.push({ message, dueAt });
    this.#queuedBytes += message.length;
    if (this.#queue.length === 1) this.#pump();
  }

  #dueAt(bytes: number): number {
    const { delayMs, bytesPerSecond, busyUntil } = this.#faults;
    if (delayMs === 0 && bytesPerSecond === Infinity) return 0;
    const now = this.#clock.now();
    this.#faults.busyUntil = Math.max(now, busyUntil) + (bytes / bytesPerSecond) * 1000;
    return this.#faults.busyUntil + delayMs;
  }

  #pump(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    for (let first = this.#queue[0]; first !== undefined && !this.#sinkFull && !this.#closed; first = this.#queue[0]) {
      const wait = first.dueAt === 0 ? 0 : first.dueAt - this.#clock.now();
      if (wait > 0) {
        this.#timer = this.#clock.after(Math.ceil(wait), () => this.#pump());
        break;
      }
      this.#queue.shift();
      this.#queuedBytes -= first.message.length;
      if (!this.#deliver(first.message)) this.#sinkFull = true;
    }
    if (this.#sourceStopped && !this.#full() && !this.#closed) this.onDrain();
  }
}

function flipBit(message: Buffer, random: Random): Buffer {
  const copy = Buffer.from(message);
  const from = Math.min(payloadOffset, message.length - 1);
  const at = from + Math.floor(random() * (message.length - from));
  copy[at] = copy[at]! ^ (1 << Math.floor(random() * 8));
  return copy;
}
