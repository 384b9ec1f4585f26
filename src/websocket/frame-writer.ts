// Writes frames to a socket. Masking needs a copy; large ones are made in buffers that are used again once the socket has
// let go of them, since a fresh one for each frame costs more in garbage collection than the masking itself (measured).
// Small ones that leave together, as acknowledgements do, are one write.
import type { Socket } from 'node:net';
import { frameRoom, type Opcode, writeFrame } from './frame.ts';

/** Frames as large as EICE's. */
const roomBytes = frameRoom(65_536);
/** Smaller ones come out of Node's own pool. */
const pooledBytes = 2_048;
/** Kept for later; as many as can be under way before the producer is told to wait, and some. */
const maxFree = 8;
/** Of small frames, one write. */
const gatheredBytes = 16 * 1024;

/** Of all sockets: from cork() to uncork() nobody else runs. */
const gathered = Buffer.allocUnsafeSlow(gatheredBytes);
const small = Buffer.allocUnsafeSlow(pooledBytes);

export class FrameWriter {
  readonly #socket: Socket;
  readonly #free: Buffer[] = [];
  #isCorked = false;
  /** The socket is corked as well, for frames that are not small. */
  #isSocketCorked = false;
  /** How much of `gathered` is ours to write. */
  #gatheredLength = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** What is written until uncork() leaves in one system call. Both in one go, with nothing of another writer's in between. */
  cork(): void {
    this.#isCorked = true;
  }

  uncork(): void {
    this.#flush();
    this.#isCorked = false;
    if (this.#isSocketCorked) this.#socket.uncork();
    this.#isSocketCorked = false;
  }

  write(opcode: Opcode, payload: Uint8Array): void {
    const wanted = frameRoom(payload.length);
    if (wanted <= pooledBytes && this.#isCorked) {
      const frame = writeFrame(opcode, payload, small);
      if (this.#gatheredLength + frame.length > gatheredBytes) this.#corkSocket();
      gathered.set(frame, this.#gatheredLength);
      this.#gatheredLength += frame.length;
      return;
    }
    if (this.#isCorked) this.#corkSocket();
    if (wanted <= pooledBytes || wanted > roomBytes) {
      this.#socket.write(writeFrame(opcode, payload, Buffer.allocUnsafe(wanted)));
      return;
    }
    const room = this.#free.pop() ?? Buffer.allocUnsafeSlow(roomBytes);
    this.#socket.write(writeFrame(opcode, payload, room), () => {
      if (this.#free.length < maxFree) this.#free.push(room);
    });
  }

  /** More than one write is to come. */
  #corkSocket(): void {
    if (!this.#isSocketCorked) this.#socket.cork();
    this.#isSocketCorked = true;
    this.#flush();
  }

  #flush(): void {
    if (this.#gatheredLength === 0) return;
    const frames = Buffer.from(gathered.subarray(0, this.#gatheredLength));
    this.#gatheredLength = 0;
    this.#socket.write(frames);
  }
}
