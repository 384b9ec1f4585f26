// Gives ssh its tunnel: by passing it the daemon's socket, or by relaying where a descriptor can't be passed
// (design.md section 1, 1). Which of the two ssh expects is seen from how it started us, without a flag.
import { fstatSync } from 'node:fs';
import type { Socket } from 'node:net';
import { FrameType } from '../control/frame.ts';
import type { ControlLink } from '../control/link.ts';
import { KeyholeError } from '../errors.ts';

/**
 * Whether ssh waits for a descriptor: the launcher then made fd 1 Node's IPC channel. (ssh gives one socket as stdin
 * and stdout with ProxyUseFdpass; everybody else gives pipes or two sockets.)
 */
export function expectsDescriptor(): boolean {
  return process.channel !== undefined && process.channel !== null;
}

/** Aborts when ssh, which waits for the descriptor, goes away. */
export function onDescriptorReceiverGone(gone: () => void): void {
  process.on('disconnect', gone);
  // The channel must be read for its end to be seen; ssh never writes to it.
  process.channel?.ref();
}

/**
 * Passes the socket to ssh (SCM_RIGHTS with the first byte of Node's IPC message; ssh takes the descriptor and ignores
 * the bytes) and resolves when it is on its way. The daemon says nothing on the socket until ssh does, so it does not
 * matter that this process could still read from it.
 */
export function passDescriptor(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    process.send!({}, socket, { keepOpen: true }, (error: Error | null) => {
      if (error === null) resolve();
      else reject(new KeyholeError('fd-pass', `ssh did not take the connection: ${error.message}`, { cause: error }));
    });
  });
}

/** Relays stdin and stdout; resolves when the tunnel has ended and everything is written. */
export async function relayStdio(link: ControlLink): Promise<void> {
  link.send(FrameType.go);
  const socket = link.release();
  const { stdin, stdout } = process;
  await new Promise<void>((resolve) => {
    // Our reader is gone: so are we, and the daemon ends the session.
    stdout.on('error', () => socket.destroy());
    socket.on('error', () => {});
    socket.on('close', () => resolve());
    stdin.on('error', () => socket.end());
    stdin.pipe(socket);
    socket.pipe(stdout, { end: false });
  });
  // stdout is asynchronous on pipes: an empty write calls back when everything before it has gone.
  await new Promise<void>((resolve) => stdout.write('', () => resolve()));
}

/** True where stdin and stdout are one and the same socket (for messages; the launcher decides by itself). */
export function hasOneSocket(): boolean {
  try {
    const input = fstatSync(0);
    const output = fstatSync(1);
    return input.isSocket() && input.ino === output.ino && input.dev === output.dev;
  } catch {
    return false;
  }
}
