// Fresh credentials for tunnels that outlive those they were opened with. Their source is a child process in the caller's
// surroundings, and tunnels that were cut ask every few seconds until the user has logged in again: so the answer, good or
// bad, is kept until a file changes that could make it another one, or half a minute has gone.
import type { Clock } from '../clock.ts';
import type { Credentials } from './ssm-api.ts';

export interface RenewalOptions {
  clock: Clock;
  /** Asks the source. @throws KeyholeError */
  ask(): Promise<Credentials>;
  /** What a newer connection with the same settings was given meanwhile, if there was one. */
  newer(): Credentials | undefined;
  /** Changes with the files that the source may have read. */
  stamp(): string;
}

/** A program, a metadata service or a role may answer differently without any file of ours having changed. */
const keptMs = 30_000;

export class Renewal {
  readonly #options: RenewalOptions;
  #adopted: Credentials | undefined;
  #last: { answer: Promise<Credentials>; stamp: string; at: number } | undefined;

  constructor(options: RenewalOptions) {
    this.#options = options;
  }

  /** @throws KeyholeError */
  async renew(): Promise<Credentials> {
    const { clock, ask, newer, stamp } = this.#options;
    const given = newer();
    if (given !== undefined && given !== this.#adopted) {
      this.#adopted = given;
      return given;
    }
    const now = clock.now();
    const files = stamp();
    if (this.#last?.stamp !== files || now - this.#last.at >= keptMs) {
      const answer = ask();
      answer.catch(() => {}); // whoever waits for it is told
      this.#last = { answer, stamp: files, at: now };
    }
    return await this.#last.answer;
  }
}
