// Our ssh-agent on a unix socket: the bytes of each connection, and what bounds them. What is said is `session.ts`'s
// business. Whoever can open the socket is taken for the user (RFC 9987 section 10); its folder and mode see to that.
import { createServer, type Server, type Socket } from 'node:net';
import type { Clock } from '../clock.ts';
import { ProtocolError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Keyring } from './keyring.ts';
import { FrameReader, serializeFrame } from './message.ts';
import { AgentSession, type Limits, type Offer } from './session.ts';
import { type FileId, fileId, isOwnSocket, listenPrivately, removeSocket } from './socket-file.ts';
import { UpstreamAgent } from './upstream-agent.ts';

/** What the daemon decides for one socket. Read anew for each connection, so it may change while the socket lives. */
export interface AgentPolicy extends Offer {
  /** Path of the caller's own agent, from `findUpstream`. */
  readonly upstream: string | undefined;
}

export interface AgentListenerOptions {
  /** In a folder that is ours alone. */
  path: string;
  policy: AgentPolicy;
  keyring: Keyring;
  /** Folders in which our own agent sockets are: none of them is ever used as an upstream. */
  ownFolders: readonly string[];
  clock: Clock;
  log: Log;
  limits?: Limits;
  /** Connections at once on this socket; more are closed at once. Thirty logins at once have to fit. */
  maxConnections?: number;
}

const defaultMaxConnections = 256;

export class AgentListener {
  readonly path: string;
  readonly #options: AgentListenerOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #id: FileId;

  /**
   * Opens the socket, in place of whatever was there.
   * @throws KeyholeError `unsafe-folder`, `no-folder`, `socket-path`
   */
  static async open(options: AgentListenerOptions): Promise<AgentListener> {
    const server = createServer();
    server.maxConnections = options.maxConnections ?? defaultMaxConnections;
    const id = await listenPrivately(server, options.path);
    return new AgentListener(options, server, id);
  }

  private constructor(options: AgentListenerOptions, server: Server, id: FileId) {
    this.path = options.path;
    this.#options = options;
    this.#server = server;
    this.#id = id;
    server.on('connection', (socket) => this.#accept(socket));
    server.on('drop', () => options.log('error', 'agent.too-many-connections', { socket: this.path }));
    server.on('error', (error) => options.log('error', 'agent.socket', { socket: this.path, message: error.message }));
  }

  /** Open connections. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** Whether the path still leads here: nobody removed the socket or put another in its place. */
  isInPlace(): boolean {
    return this.#server.listening && fileId(this.path) === this.#id;
  }

  /** Accepts no more and removes the socket, unless another has taken its place. Connections go on. Never rejects. */
  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    try {
      removeSocket(this.path, this.#id);
    } catch (error) {
      this.#options.log('error', 'agent.socket', { socket: this.path, message: (error as Error).message });
    }
    // Clients that connected before the name was gone still wait to be accepted; closing at once would reset them.
    for (let turn = 0; turn < 2; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    this.#server.close();
  }

  /** Stops, and ends every connection. */
  async close(): Promise<void> {
    await this.stop();
    const closed = [...this.#sockets].map((socket) => new Promise((resolve) => socket.once('close', resolve)));
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(closed);
  }

  #accept(socket: Socket): void {
    const { policy, keyring, clock, log, limits } = this.#options;
    const path = this.#usableUpstream();
    const upstream = path === undefined ? undefined : new UpstreamAgent(path, clock);
    const session = new AgentSession({ keyring, offer: policy, upstream, clock, log, ...(limits && { limits }) });
    this.#sockets.add(socket);
    socket.on('error', () => {}); // a client that went away; `close` follows
    socket.once('close', () => {
      this.#sockets.delete(socket);
      session.close();
    });
    converse(socket, session, log);
  }

  #usableUpstream(): string | undefined {
    const { policy, ownFolders, log } = this.#options;
    const { upstream } = policy;
    if (upstream === undefined || !isOwnSocket(upstream, ownFolders)) return upstream;
    log('error', 'agent.upstream-is-keyhole', { path: upstream });
    return undefined;
  }
}

/**
 * Requests in, answers out, one after the other (RFC 9987 section 3). While one is being answered the socket is read
 * on, since only so a client that dies is noticed, but only until the next request is there: clients don't send two.
 */
function converse(socket: Socket, session: AgentSession, log: Log): void {
  const frames = new FrameReader();
  const requests: Buffer[] = [];
  let answering = false;

  socket.on('data', (chunk: Buffer) => {
    try {
      requests.push(...frames.push(chunk));
    } catch (error) {
      log('info', 'agent.bad-message', { message: (error as Error).message });
      socket.destroy();
      return;
    }
    if (answering && requests.length > 0) socket.pause();
    if (!answering) void answerAll();
  });

  async function answerAll(): Promise<void> {
    answering = true;
    try {
      for (let request = requests.shift(); request !== undefined; request = requests.shift()) {
        const answer = await session.answer(request);
        if (socket.destroyed) return;
        if (!socket.write(serializeFrame(answer)) && !(await drained(socket))) return;
      }
      socket.resume();
    } catch (error) {
      const what = error instanceof ProtocolError ? error.code : String((error as Error).stack);
      log('error', 'agent.failed', { what });
      socket.destroy();
    } finally {
      answering = false;
    }
  }
}

/** False: the client went away. */
function drained(socket: Socket): Promise<boolean> {
  return new Promise((resolve) => {
    socket.once('drain', () => resolve(true));
    socket.once('close', () => resolve(false));
  });
}
