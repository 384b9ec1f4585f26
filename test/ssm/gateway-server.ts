// A message gateway on loopback that does what a test says and keeps what it got: one Dial per upgrade request.
import { createServer, type IncomingMessage, type Server, STATUS_CODES } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';

export class Dial {
  readonly request: IncomingMessage;
  readonly socket: Socket;
  /** Everything that came, in order: TEXT as string, BINARY as Buffer. */
  readonly received: (string | Buffer)[] = [];
  readonly pings: string[] = [];
  /** Undefined until it is accepted. */
  webSocket: WebSocket | undefined;
  closeCode: number | undefined;
  /** The client's connection is gone. */
  isGone = false;
  onMessage: (bytes: Buffer) => void = () => {};

  constructor(request: IncomingMessage, socket: Socket) {
    this.request = request;
    this.socket = socket;
    const gone = () => {
      this.isGone = true;
    };
    socket.on('end', gone).on('close', gone);
  }

  get openDataChannel(): Record<string, string> {
    return JSON.parse(String(this.received[0]));
  }

  get binary(): Buffer[] {
    return this.received.filter((message) => typeof message !== 'string');
  }

  send(...messages: Uint8Array[]): void {
    for (const message of messages) this.webSocket!.send(message);
  }

  refuse(status: number, body: string, type = 'application/json'): void {
    this.socket.end(
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: ${type}\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
    );
  }
}

export class GatewayServer {
  readonly dials: Dial[] = [];
  /** Decides about the next upgrades: 'accept', or what it does itself. */
  onDial: (dial: Dial) => 'accept' | 'handled' = () => 'accept';
  /** Called with each dial whose OpenDataChannel came. */
  onOpen: (dial: Dial) => void = () => {};
  readonly #http: Server = createServer();
  answersPings = true;

  static async listen(): Promise<GatewayServer> {
    const gateway = new GatewayServer();
    gateway.#http.on('upgrade', (request, socket, head) => gateway.#upgrade(request, socket as Socket, head));
    await new Promise<void>((resolve) => gateway.#http.listen(0, '127.0.0.1', resolve));
    return gateway;
  }

  get port(): number {
    return (this.#http.address() as AddressInfo).port;
  }

  get last(): Dial {
    return this.dials.at(-1)!;
  }

  async close(): Promise<void> {
    for (const { socket } of this.dials) socket.destroy();
    await new Promise((resolve) => this.#http.close(resolve));
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const dial = new Dial(request, socket);
    socket.on('error', () => {});
    this.dials.push(dial);
    if (this.onDial(dial) === 'handled') {
      socket.resume(); // else its end is never seen
      return;
    }
    new WebSocketServer({ noServer: true, autoPong: false }).handleUpgrade(request, socket, head, (webSocket) => {
      dial.webSocket = webSocket;
      webSocket.on('ping', (data) => {
        dial.pings.push(data.toString());
        if (this.answersPings) webSocket.pong(data);
      });
      webSocket.on('close', (code) => {
        dial.closeCode = code;
      });
      webSocket.on('error', () => {});
      webSocket.on('message', (data: Buffer, isBinary) => {
        dial.received.push(isBinary ? data : data.toString());
        if (isBinary) dial.onMessage(data);
        else this.onOpen(dial);
      });
    });
  }
}
