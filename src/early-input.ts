// Reads stdin while the tunnel is still being opened, so that ssh's first words leave at once when it is, and so
// that an ssh that went away meanwhile is noticed (a killed one leaves nothing but end of file).
import type { Readable } from 'node:stream';

/** ssh itself sends its identification string only; a client that sends more waits in the pipe. */
const maxBytes = 64 * 1024;

export class EarlyInput {
  readonly #source: Readable;
  readonly #onEnd: () => void;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;

  /** `onEnd` is called when the source ends, or fails, before release(). */
  constructor(source: Readable, onEnd: () => void) {
    this.#source = source;
    this.#onEnd = onEnd;
    source.on('data', this.#onData);
    source.on('end', this.#onEnd);
    source.on('error', this.#onEnd);
    source.resume(); // it may be paused by whoever had it before
  }

  /** Hands the source back, paused, as if nothing had been read. */
  release(): Readable {
    this.#source.pause();
    this.#source.off('data', this.#onData);
    this.#source.off('end', this.#onEnd);
    this.#source.off('error', this.#onEnd);
    if (this.#bytes > 0) this.#source.unshift(Buffer.concat(this.#chunks));
    return this.#source;
  }

  readonly #onData = (chunk: Buffer) => {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes >= maxBytes) this.#source.pause();
  };
}
