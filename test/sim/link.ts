// One direction between the client's socket and the agent's, with faults drawn from a seed. Messages are whole or
// gone: below is a websocket over TLS, so what is lost is lost in the gateway, and bits do not flip on the wire.
import type { Random } from './random.ts';

export interface Faults {
  /** Probabilities per message. */
  lose?: number;
  repeat?: number;
  reorder?: number;
  damage?: number;
  /** One way, plus as much again at random. */
  delayMs?: number;
}

interface InFlight {
  at: number;
  bytes: Buffer;
}

export class Link {
  readonly #random: Random;
  readonly #faults: Faults;
  /** What `damage` makes of a message; undefined where it can't be damaged in a way the receiver could notice. */
  readonly #damage: (bytes: Buffer, random: Random) => Buffer | undefined;
  #inFlight: InFlight[] = [];
  #lastAt = 0;
  #heldUntil = 0;
  #down = false;

  constructor(random: Random, faults: Faults, damage: (bytes: Buffer, random: Random) => Buffer | undefined) {
    this.#random = random;
    this.#faults = faults;
    this.#damage = damage;
  }

  /** @returns what became of the message, for the trace */
  send(bytes: Buffer, now: number): string {
    const { lose = 0, repeat = 0, reorder = 0, damage = 0 } = this.#faults;
    if (this.#down) return 'lost (cut)';
    if (this.#random.chance(lose)) return 'lost';
    let fate = 'sent';
    let arriving: Buffer = bytes;
    if (this.#random.chance(damage)) {
      const damaged = this.#damage(bytes, this.#random);
      if (damaged !== undefined) {
        arriving = damaged;
        fate = 'damaged';
      }
    }
    if (this.#random.chance(repeat)) {
      this.#post(bytes, this.#delay(now) + this.#random.between(0, 300));
      fate += ', repeated';
    }
    if (this.#random.chance(reorder)) {
      this.#post(arriving, this.#delay(now) + this.#random.between(0, 200));
      return `${fate}, late`;
    }
    this.sendFaithfully(arriving, now);
    return fate;
  }

  /** In order, without faults other than delay: for what the gateway itself says. Also while the link is cut. */
  sendFaithfully(bytes: Buffer, now: number): void {
    this.#lastAt = Math.max(this.#lastAt, this.#delay(now));
    this.#post(bytes, this.#lastAt);
  }

  /** Before everything that is on its way. */
  overtake(bytes: Buffer, now: number): void {
    this.#inFlight.unshift({ at: Math.min(now, this.#inFlight[0]?.at ?? now), bytes });
  }

  /** Arrived by now, in order of arrival. */
  take(now: number): Buffer | undefined {
    if (this.nextAt() > now) return undefined;
    return this.#inFlight.shift()!.bytes;
  }

  nextAt(): number {
    const first = this.#inFlight[0];
    if (first === undefined || this.#down) return Infinity;
    return Math.max(first.at, this.#heldUntil);
  }

  /** The receiver does not read until then. */
  hold(until: number): void {
    this.#heldUntil = Math.max(this.#heldUntil, until);
  }

  /** The socket breaks: some of what is on its way has got through, the rest is gone. */
  cut(): void {
    this.#down = true;
    this.#inFlight.length = this.#random.integer(0, this.#inFlight.length);
  }

  mend(): void {
    this.#down = false;
  }

  #delay(now: number): number {
    const { delayMs = 1 } = this.#faults;
    return now + this.#random.between(delayMs, 2 * delayMs);
  }

  #post(bytes: Buffer, at: number): void {
    let index = this.#inFlight.length;
    while (index > 0 && this.#inFlight[index - 1]!.at > at) index--;
    this.#inFlight.splice(index, 0, { at, bytes });
  }
}
