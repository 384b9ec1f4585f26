// The program behind the port: says its bytes, checks each byte that it hears, reads when it likes.

export class Port {
  readonly #expected: Buffer;
  readonly #sayings: Buffer;
  readonly #violated: (law: string) => never;
  #said = 0;
  #read = 0;
  #closing = false;
  #stalledUntil = 0;
  /** Bytes that arrived. */
  heard = 0;
  disconnected = false;

  /**
   * @param expected what it should hear
   * @param sayings what it will say
   */
  constructor(expected: Buffer, sayings: Buffer, violated: (law: string) => never) {
    this.#expected = expected;
    this.#sayings = sayings;
    this.#violated = violated;
  }

  /** Says up to `size` bytes more. Returns false once all is said. */
  speak(size: number): boolean {
    this.#said = Math.min(this.#said + size, this.#sayings.length);
    return this.#said < this.#sayings.length;
  }

  /** As sshd does: closes when everything is said and everything was heard. */
  closeWhenHeardAll(): void {
    this.#closing = true;
  }

  /** Whether the agent would get something from a read, if only the end. */
  get readable(): boolean {
    return this.#read < this.#said || this.#atEnd;
  }

  read(atMost: number): Buffer | 'eof' {
    if (this.#read === this.#said && this.#atEnd) return 'eof';
    const bytes = this.#sayings.subarray(this.#read, Math.min(this.#read + atMost, this.#said));
    this.#read += bytes.length;
    return bytes;
  }

  /** Stops reading until then. */
  stall(until: number): void {
    this.#stalledUntil = Math.max(this.#stalledUntil, until);
  }

  /** How long a write blocks. */
  stalledFor(now: number): number {
    return Math.max(0, this.#stalledUntil - now);
  }

  write(bytes: Buffer): void {
    if (this.disconnected) this.#violated('bytes for a closed connection');
    const expected = this.#expected.subarray(this.heard, this.heard + bytes.length);
    if (!expected.equals(bytes)) this.#violated(`wrong bytes for the port at ${this.heard}`);
    this.heard += bytes.length;
  }

  get #atEnd(): boolean {
    return this.#closing && this.heard === this.#expected.length && this.#said === this.#sayings.length;
  }
}
