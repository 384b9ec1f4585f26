// Writes frames to a socket. Masking needs a copy; large ones are made in buffers that are used again once the socket has
// let go of them, since a fresh one for each frame costs more in garbage collection than the masking itself (measured).
import type { Socket } from 'node:net';
import { frameRoom, type Opcode, writeFrame } from './frame.ts';

/** Frames as large as EICE's. */
const roomBytes = frameRoom(65_536);
/** Smaller ones come out of Node's own pool. */
const pooledBytes = 2_048;
/** Kept for later; as many as can be under way before the producer is told to wait, and some. */
const maxFree = 8;

export class FrameWriter {
  readonly #socket: Socket;
  readonly #free: Buffer[] = [];

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  write(opcode: Opcode, payload: Uint8Array): void {
    const wanted = frameRoom(payload.length);
    if (wanted <= pooledBytes || wanted > roomBytes) {
      this.#socket.write(writeFrame(opcode, payload, Buffer.allocUnsafe(wanted)));
      return;
    }
    const room = this.#free.pop() ?? Buffer.allocUnsafeSlow(roomBytes);
    this.#socket.write(writeFrame(opcode, payload, room), () => {
      if (this.#free.length < maxFree) this.#free.push(room);
    });
  }
}
