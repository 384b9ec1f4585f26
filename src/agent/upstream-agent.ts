// The caller's own agent, seen from one client's connection: one connection there for one here, since OpenSSH's agent
// keeps session bindings per connection. What it answers is passed on unread. Once it failed, it is not tried
// again on this connection: a second one would lack the bindings of the first.
import { createConnection, type Socket } from 'node:net';
import type { Clock } from '../clock.ts';
import { TransportError } from '../errors.ts';
import { FrameReader, serializeFrame } from './message.ts';

/** What the session needs of it. */
export interface Upstream {
  /**
   * Sends one request and waits for its answer; one at a time.
   * @throws TransportError `agent-upstream` when it is gone, says nonsense, or takes longer than `timeoutMs`
   */
  request(message: Buffer, timeoutMs?: number): Promise<Buffer>;
  close(): void;
}

interface Waiting {
  resolve(message: Buffer): void;
  reject(error: TransportError): void;
}

export class UpstreamAgent implements Upstream {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #frames = new FrameReader();
  #socket: Socket | undefined;
  #waiting: Waiting | undefined;
  #broken: TransportError | undefined;

  /** Connects at the first request. */
  constructor(path: string, clock: Clock) {
    this.#path = path;
    this.#clock = clock;
  }

  request(message: Buffer, timeoutMs?: number): Promise<Buffer> {
    if (this.#waiting) throw new Error('a request is under way');
    return new Promise((resolve, reject) => {
      if (this.#broken) return reject(this.#broken);
      const timer =
        timeoutMs === undefined
          ? undefined
          : this.#clock.after(timeoutMs, () => this.#fail(`did not answer within ${timeoutMs} ms`));
      const settle = () => {
        timer?.cancel();
        this.#waiting = undefined;
      };
      this.#waiting = {
        resolve: (answer) => {
          settle();
          resolve(answer);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      try {
        this.#socket ??= this.#connect();
        this.#socket.write(serializeFrame(message));
      } catch (error) {
        this.#fail(`can't be reached: ${(error as NodeJS.ErrnoException).code}`); // a path that is none
      }
    });
  }

  close(): void {
    this.#fail('is not needed any more');
  }

  #connect(): Socket {
    const socket = createConnection(this.#path);
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (error: NodeJS.ErrnoException) => this.#fail(`failed: ${error.code ?? error.message}`));
    socket.on('close', () => this.#fail('closed the connection'));
    return socket;
  }

  #receive(chunk: Buffer): void {
    try {
      for (const message of this.#frames.push(chunk)) {
        if (this.#waiting === undefined) this.#fail('sent what was not asked for');
        else this.#waiting.resolve(message);
      }
    } catch (error) {
      this.#fail(`is not in step: ${(error as Error).message}`);
    }
  }

  #fail(why: string): void {
    this.#broken ??= new TransportError('agent-upstream', `the ssh-agent at ${this.#path} ${why}`);
    this.#waiting?.reject(this.#broken);
    this.#socket?.destroy();
  }
}
