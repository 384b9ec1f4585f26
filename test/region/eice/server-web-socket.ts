// An endpoint's end of a websocket that carries a stream of bytes (RFC 6455): the upgrade, and frames that are unmasked where
// they lie and handed on as they come. Written apart from src/websocket, which it is to judge; ws, which puts each frame
// together and unmasks it byte by byte, costs more than the tunnel that is measured.
import { createHash } from 'node:crypto';
import { EventEmitter } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '../../../src/clock.ts';

/** What came from the client, in order. */
interface Events {
  /** A frame of bytes begins; perhaps an empty one. */
  frame: [length: number];
  /** A part of its bytes. */
  message: [part: Buffer, isBinary: true];
  text: [];
  ping: [];
  pong: [];
  /** The client broke RFC 6455, or sent a frame above the limit; the close frame that says so is sent. */
  broken: [why: string];
  /** The connection is gone; 1006 where it went without a close frame. */
  close: [code: number];
}

export interface ServerWebSocketOptions {
  /** Longer ones are refused. */
  maxFrameBytes: number;
  clock: Clock;
}

/** The client has to end the connection in that time after our close frame. */
const closeTimeoutMs = 30_000;
const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 };
const maxControlBytes = 125;

/** Why an upgrade is none that a client of the endpoints should send; undefined where it is. */
export function objectionTo({ method, headers }: IncomingMessage): string | undefined {
  if (method !== 'GET') return `method ${method}`;
  if (headers.upgrade?.toLowerCase() !== 'websocket') return `upgrade to ${headers.upgrade}`;
  if (headers['sec-websocket-version'] !== '13') return `version ${headers['sec-websocket-version']}`;
  if (!/^[A-Za-z0-9+/]{21}[AQgw]==$/.test(headers['sec-websocket-key'] ?? '')) return 'no key of 16 bytes';
  // protocol.md 9.3: plain.
  if (headers['sec-websocket-extensions'] !== undefined) return 'an extension';
  if (headers['sec-websocket-protocol'] !== undefined) return 'a subprotocol';
  return undefined;
}

export class ServerWebSocket extends EventEmitter<Events> {
  readonly #socket: Duplex;
  readonly #options: ServerWebSocketOptions;
  readonly #header = Buffer.alloc(14);
  #headerLength = 0;
  /** Of the frame that is being read. */
  #opcode = 0;
  #left = 0;
  /** Whether a message goes on in the next frame. */
  #isInMessage = false;
  readonly #key = Buffer.alloc(4);
  /** Where in the key the next byte is. */
  #keyAt = 0;
  #control: Buffer[] = [];
  #received = 1006;
  #hasSentClose = false;
  #isReading = true;
  #timer: Timer | undefined;

  /** Answers an upgrade against which there is no objection. */
  constructor({ headers }: IncomingMessage, socket: Duplex, head: Buffer, options: ServerWebSocketOptions) {
    super();
    this.#socket = socket;
    this.#options = options;
    const accept = createHash('sha1')
      .update(`${headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest('base64');
    const answer = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade'];
    socket.write(`${[...answer, `Sec-WebSocket-Accept: ${accept}`].join('\r\n')}\r\n\r\n`);
    if (head.length > 0) socket.unshift(head);
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('end', () => socket.end());
    socket.on('close', () => {
      this.#timer?.cancel();
      this.emit('close', this.#received);
    });
  }

  get isOpen(): boolean {
    return !this.#hasSentClose && this.#isReading && !this.#socket.destroyed;
  }

  send(bytes: Buffer): void {
    this.#write(opcodes.binary, bytes);
  }

  ping(): void {
    this.#write(opcodes.ping, Buffer.alloc(0));
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(code: number, reason = ''): void {
    if (this.#hasSentClose) return;
    const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
    payload.writeUInt16BE(code);
    payload.write(reason, 2);
    this.#write(opcodes.close, payload);
    this.#hasSentClose = true;
    this.#timer = this.#options.clock.after(closeTimeoutMs, () => this.#socket.destroy());
  }

  /** At once, without a close frame. */
  terminate(): void {
    this.#socket.destroy();
  }

  #write(opcode: number, payload: Buffer): void {
    if (this.#hasSentClose || !this.#socket.writable) return;
    const { length } = payload;
    const header = Buffer.allocUnsafe(length < 126 ? 2 : length < 0x10000 ? 4 : 10);
    header[0] = 0x80 | opcode;
    header[1] = length < 126 ? length : length < 0x10000 ? 126 : 127;
    if (header.length === 4) header.writeUInt16BE(length, 2);
    if (header.length === 10) header.writeBigUInt64BE(BigInt(length), 2);
    this.#socket.cork();
    this.#socket.write(header);
    this.#socket.write(payload);
    this.#socket.uncork();
  }

  #read(chunk: Buffer): void {
    for (let at = 0; at < chunk.length && this.#isReading; ) {
      if (this.#left === 0) {
        this.#header[this.#headerLength++] = chunk[at++]!;
        this.#readHeader();
        continue;
      }
      const part = chunk.subarray(at, at + this.#left);
      at += part.length;
      this.#left -= part.length;
      this.#keyAt = unmask(part, this.#key, this.#keyAt);
      if (this.#opcode >= opcodes.close) this.#readControl(part);
      else if (this.#opcode !== opcodes.text) this.emit('message', part, true);
    }
  }

  #readHeader(): void {
    const header = this.#header;
    if (this.#headerLength < 2) return;
    const short = header[1]! & 0x7f;
    const keyAt = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (this.#headerLength < keyAt + 4) return;
    this.#headerLength = 0;
    header.copy(this.#key, 0, keyAt);
    this.#keyAt = 0;
    const length = short < 126 ? short : short === 126 ? header.readUInt16BE(2) : Number(header.readBigUInt64BE(2));
    const opcode = header[0]! & 0x0f;
    const isFinal = header[0]! >= 0x80;
    if ((header[0]! & 0x70) !== 0) this.#fail('reserved bits', 1002);
    else if (header[1]! < 0x80) this.#fail('a frame that is not masked', 1002);
    else if (length < (short === 126 ? 126 : short === 127 ? 0x10000 : 0))
      this.#fail('a length in too many bytes', 1002);
    else if (opcode > opcodes.pong || (opcode > opcodes.binary && opcode < opcodes.close)) this.#fail('opcode', 1002);
    else if (opcode >= opcodes.close && (!isFinal || length > maxControlBytes)) this.#fail('control frame', 1002);
    else if (opcode < opcodes.close && (opcode === opcodes.continuation) !== this.#isInMessage)
      this.#fail('a message that does not go on', 1002);
    else if (length > this.#options.maxFrameBytes) {
      this.#fail(`frame over ${this.#options.maxFrameBytes} bytes`, 1009);
    } else this.#begin(opcode, length, isFinal);
  }

  #begin(opcode: number, length: number, isFinal: boolean): void {
    this.#opcode = opcode;
    this.#left = length;
    if (opcode >= opcodes.close) {
      if (length === 0) this.#readControl(Buffer.alloc(0));
      return;
    }
    this.#isInMessage = !isFinal;
    if (opcode === opcodes.text) this.emit('text');
    else this.emit('frame', length);
  }

  #readControl(part: Buffer): void {
    this.#control.push(part);
    if (this.#left > 0) return;
    const payload = Buffer.concat(this.#control.splice(0));
    if (this.#opcode === opcodes.pong) this.emit('pong');
    else if (this.#opcode === opcodes.ping) {
      this.#write(opcodes.pong, payload);
      this.emit('ping');
    } else this.#readClose(payload);
  }

  #readClose(payload: Buffer): void {
    this.#isReading = false;
    if (payload.length === 1) {
      this.#fail('a close frame with half a code', 1002);
      return;
    }
    this.#received = payload.length === 0 ? 1005 : payload.readUInt16BE();
    if (!this.#hasSentClose) this.#write(opcodes.close, payload.subarray(0, 2));
    this.#hasSentClose = true;
    this.#leave();
  }

  #fail(why: string, code: number): void {
    this.#isReading = false;
    this.close(code);
    this.emit('broken', why);
    this.#leave();
  }

  #leave(): void {
    this.#socket.end();
    this.#socket.resume();
  }
}

/** In place, by words where they are aligned. @returns where in the key the next byte is */
function unmask(bytes: Buffer, key: Buffer, keyAt: number): number {
  const { length, byteOffset } = bytes;
  const aligned = Math.min(-byteOffset & 3, length);
  const words = (length - aligned) >>> 2;
  unmaskBytes(bytes, key, keyAt, 0, aligned);
  if (words > 0) {
    const turned = Uint8Array.of(0, 1, 2, 3).map((of) => key[(keyAt + aligned + of) & 3]!);
    unmaskWords(new Int32Array(bytes.buffer, byteOffset + aligned, words), new Int32Array(turned.buffer)[0]!);
  }
  unmaskBytes(bytes, key, keyAt, aligned + words * 4, length);
  return (keyAt + length) & 3;
}

function unmaskBytes(bytes: Buffer, key: Buffer, keyAt: number, from: number, to: number): void {
  for (let at = from; at < to; at++) bytes[at]! ^= key[(keyAt + at) & 3]!;
}

function unmaskWords(words: Int32Array, key: number): void {
  for (let at = 0; at < words.length; at++) words[at]! ^= key;
}
