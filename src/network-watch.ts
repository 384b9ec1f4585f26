// Notices that the network may not be what it was: this machine slept, this process was stopped, an address came or went.
// There is no event for any of these in Node, so it looks: at the clocks whenever somebody has something to send, and at
// addresses and clocks a few times a minute; every second only while somebody waits for the network to come back. It looks
// at nothing while nobody is interested.
import { networkInterfaces } from 'node:os';
import type { Clock, Timer } from './clock.ts';

export interface Watcher {
  /** What is open may be dead, and what waits need not wait. */
  doubt(why: Doubt): void;
  /** Another watcher has got through: what waits need not wait. */
  hope(): void;
}

export type Doubt = 'stood-still' | 'addresses-changed';

export interface Watching {
  /** Whether it waits for the network. */
  seek(isSeeking: boolean): void;
  /** It has got through. */
  reached(): void;
  end(): void;
}

const lookMs = 15_000;
const seekMs = 1_000;
/** So late is no timer of a process that runs, and by so much nobody corrects a clock in passing. */
const standstillMs = 3_000;

export class NetworkWatch {
  readonly #clock: Clock;
  readonly #addresses: () => string;
  readonly #watchers = new Set<Watcher>();
  readonly #seeking = new Set<Watcher>();
  #timer: Timer | undefined;
  #dueAt = 0;
  /** Wall time at `now` = 0. */
  #epoch = 0;
  #known = '';

  /** @param addresses something that changes when the machine's addresses do */
  constructor(clock: Clock, addresses: () => string = localAddresses) {
    this.#clock = clock;
    this.#addresses = addresses;
  }

  add(watcher: Watcher): Watching {
    if (this.#watchers.size === 0) this.#start();
    this.#watchers.add(watcher);
    return {
      seek: (isSeeking) => {
        if (isSeeking === this.#seeking.has(watcher) || !this.#watchers.has(watcher)) return;
        if (isSeeking) this.#seeking.add(watcher);
        else this.#seeking.delete(watcher);
        this.#wait();
      },
      reached: () => {
        for (const other of [...this.#seeking]) if (other !== watcher) other.hope();
      },
      end: () => {
        this.#watchers.delete(watcher);
        this.#seeking.delete(watcher);
        if (this.#watchers.size === 0) this.#timer?.cancel();
      },
    };
  }

  /** Looks at the clocks: a sleep is noticed with the first keystroke after it. */
  glance(): void {
    if (this.#watchers.size === 0 || !this.#stoodStill()) return;
    this.#read();
    this.#wait();
    this.#tell('stood-still');
  }

  #start(): void {
    this.#read();
    this.#wait();
  }

  #wait(): void {
    this.#timer?.cancel();
    const ms = this.#seeking.size > 0 ? seekMs : lookMs;
    this.#dueAt = this.#clock.now() + ms;
    this.#timer = this.#clock.after(ms, () => this.#look());
  }

  #look(): void {
    const stoodStill = this.#stoodStill();
    const known = this.#known;
    this.#read();
    this.#wait();
    if (stoodStill) this.#tell('stood-still');
    else if (this.#known !== known) this.#tell('addresses-changed');
  }

  #tell(why: Doubt): void {
    for (const watcher of [...this.#watchers]) watcher.doubt(why);
  }

  /** Linux's monotonic clock stops while the machine sleeps, so that only the wall time tells; where it goes on, so do timers. */
  #stoodStill(): boolean {
    const isLate = this.#clock.now() - this.#dueAt > standstillMs;
    return isLate || Math.abs(this.#clock.wallTime() - this.#clock.now() - this.#epoch) > standstillMs;
  }

  #read(): void {
    this.#epoch = this.#clock.wallTime() - this.#clock.now();
    this.#known = this.#addresses();
  }
}

function localAddresses(): string {
  try {
    return Object.entries(networkInterfaces())
      .flatMap(([name, entries = []]) => entries.map(({ address }) => `${name} ${address}`))
      .sort()
      .join('\n');
  } catch {
    return ''; // no permission to ask (Android, some sandboxes)
  }
}
