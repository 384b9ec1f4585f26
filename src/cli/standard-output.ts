// What a verb shows, whole, at whatever pace it is read. As a rule it is written at once. yargs makes Node open stdout, which
// turns a pipe into one that takes what it has room for and no more: the rest waits here, and run.ts waits for it.
import { writeSync } from 'node:fs';
import { KeyholeError } from '../errors.ts';

export class StandardOutput {
  #waiting = 0;
  #failure: NodeJS.ErrnoException | undefined;
  #onEmpty: (() => void) | undefined;

  write(text: string): void {
    if (this.#failure !== undefined) return;
    const bytes = Buffer.from(text);
    const rest = this.#waiting > 0 ? bytes : this.#writeNow(bytes);
    if (rest.length > 0) this.#writeLater(rest);
  }

  /** @throws KeyholeError `output`; a reader who has gone is none */
  async written(): Promise<void> {
    if (this.#waiting > 0) {
      await new Promise<void>((resolve) => {
        this.#onEmpty = resolve;
      });
    }
    const { code } = this.#failure ?? {};
    if (this.#failure === undefined || code === 'EPIPE') return;
    throw new KeyholeError('output', `what was to be shown could not be written: ${code ?? this.#failure.message}`, {
      hint: 'stdout leads to a file or device that takes no more',
    });
  }

  /** @returns what there was no room for */
  #writeNow(bytes: Buffer): Buffer {
    let written = 0;
    try {
      while (written < bytes.length) written += writeSync(1, bytes, written);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') {
        this.#failure = error as NodeJS.ErrnoException;
        return Buffer.alloc(0);
      }
    }
    return bytes.subarray(written);
  }

  #writeLater(bytes: Buffer): void {
    const { stdout } = process;
    if (stdout.listenerCount('error', this.#failed) === 0) stdout.on('error', this.#failed);
    this.#waiting += 1;
    stdout.write(bytes, (error) => {
      this.#waiting -= 1;
      if (error) this.#failed(error);
      if (this.#waiting > 0) return;
      this.#onEmpty?.();
    });
  }

  readonly #failed = (error: Error): void => {
    this.#failure ??= error;
  };
}
