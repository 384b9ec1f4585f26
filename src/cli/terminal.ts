// The only writer to the user's terminal. Who waits long is told so; an error is one `keyhole:` line and perhaps one `keyhole: hint:` line, and
// once the target has spoken not even that: some clients feed our stderr into the SSH stream (asyncssh), others
// never read it (paramiko), and ssh shows it in the middle of somebody's work.
import { writeSync } from 'node:fs';
import { KeyholeError } from '../errors.ts';
import { StandardOutput } from './standard-output.ts';

export class Terminal {
  readonly #output = new StandardOutput();
  readonly #write: (fd: 1 | 2, text: string) => void;
  #silent = false;
  #host: string | undefined;

  constructor(write?: (fd: 1 | 2, text: string) => void) {
    this.#write = write ?? ((fd, text) => (fd === 1 ? this.#output.write(text) : tell(text)));
  }

  /** Failures from here on are those of a connection to the host: one that does not name it begins with it. */
  concernsHost(host: string): void {
    this.#host = host;
  }

  /** What a verb was asked to show. */
  print(text: string): void {
    this.#write(1, text.endsWith('\n') ? text : `${text}\n`);
  }

  /** Resolves when all that was shown has been taken. @throws KeyholeError `output` where it can't be written */
  async shown(): Promise<void> {
    await this.#output.written();
  }

  /** A word to whoever waits. */
  say(text: string): void {
    if (!this.#silent) this.#write(2, `keyhole: ${oneLine(text)}\n`);
  }

  /** Says why a verb failed; at most once. @returns the exit status that belongs to the error */
  fail(error: unknown): 1 | 2 {
    const failure = error instanceof KeyholeError ? error : internalError(error);
    // Whoever sent a signal knows.
    if (!this.#silent && failure.code !== 'interrupted') {
      const hint = failure.hint === undefined ? '' : `keyhole: hint: ${oneLine(failure.hint)}\n`;
      this.#write(2, `keyhole: ${oneLine(this.#aboutHost(failure))}\n${hint}`);
    }
    this.#silent = true;
    return failure.exitStatus;
  }

  /** What was written wrongly is wrong for every host. */
  #aboutHost({ message, exitStatus }: KeyholeError): string {
    const host = this.#host;
    const isSaid = host === undefined || exitStatus === 2 || message.includes(host.split('.')[0]!);
    return isSaid ? message : `${host}: ${message}`;
  }

  /** From here on stderr stays empty. */
  silence(): void {
    this.#silent = true;
  }
}

/** Takes stdout and stderr away from libraries: warnings of Node or the SDK must not get between ssh and the target. */
export function muteLibraries(): void {
  process.removeAllListeners('warning');
  process.on('warning', () => {});
  for (const method of ['log', 'info', 'warn', 'error', 'debug', 'trace', 'dir', 'table'] as const) {
    console[method] = () => {};
  }
}

function internalError(error: unknown): KeyholeError {
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return new KeyholeError('internal', `internal error: ${message.slice(0, 300)}`, {
    hint: 'this is a bug of keyhole; please report it',
    cause: error,
  });
}

function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]+/gu, ' ').trim();
}

/** On stderr, at once, so that nothing is lost at exit; a reader who is gone or does not read is not waited for. */
function tell(text: string): void {
  try {
    writeSync(2, text);
  } catch {
    // Nobody there to be told.
  }
}
