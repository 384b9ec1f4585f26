// Pseudo-random numbers from a seed, the same on every machine: xoshiro128** (Blackman and Vigna, 2018), its state
// filled by splitmix32. Nothing in the simulation may be random in any other way.

export class Random {
  readonly #state = new Uint32Array(4);

  /** @param name keeps streams of one seed apart, e.g. the link's from the writer's */
  constructor(seed: number, name = '') {
    let state = Math.imul(seed ^ Math.floor(seed / 2 ** 32), 0x9e3779b1);
    for (const character of name) state = Math.imul(state ^ character.codePointAt(0)!, 0x01000193);
    for (let i = 0; i < 4; i++) {
      state = (state + 0x9e3779b9) | 0;
      let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
      this.#state[i] = mixed ^ (mixed >>> 15);
    }
  }

  uint32(): number {
    const s = this.#state;
    const [s0, s1, s2, s3] = s as unknown as [number, number, number, number];
    const result = Math.imul(rotateLeft(Math.imul(s1, 5), 7), 9) >>> 0;
    s[2] = s2 ^ s0;
    s[3] = s3 ^ s1;
    s[1] = s1 ^ s2 ^ s0;
    s[0] = s0 ^ s3 ^ s1;
    s[2] ^= s1 << 9;
    s[3] = rotateLeft(s3 ^ s1, 11);
    return result;
  }

  /** In [0, 1). */
  real(): number {
    return this.uint32() / 2 ** 32;
  }

  /** In [low, high). */
  between(low: number, high: number): number {
    return low + this.real() * (high - low);
  }

  /** A whole number in [low, high]. */
  integer(low: number, high: number): number {
    return low + Math.floor(this.real() * (high - low + 1));
  }

  /** A whole number in [1, high], small ones as likely as large ones. */
  magnitude(high: number): number {
    return Math.max(1, Math.floor(2 ** (this.real() * Math.log2(high + 1))));
  }

  chance(probability: number): boolean {
    return this.real() < probability;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.integer(0, choices.length - 1)]!;
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.alloc(length);
    for (let i = 0; i < length; i += 4) {
      const word = this.uint32();
      for (let j = 0; j < 4 && i + j < length; j++) bytes[i + j] = word >>> (8 * j);
    }
    return bytes;
  }

  uuid(): string {
    const hex = this.bytes(16).toString('hex');
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`;
  }
}

function rotateLeft(value: number, by: number): number {
  return (value << by) | (value >>> (32 - by));
}
