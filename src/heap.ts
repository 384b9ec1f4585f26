// How V8 keeps the heap of a process that carries tunnels.
import { setFlagsFromString } from 'node:v8';

/**
 * Buffers count against the old generation as long as they are young, so that fast transfers would have V8 mark all that is
 * old every few megabytes (three times the CPU of the tunnel itself); without incremental marking it does so when something old
 * needs the room. Said when everything is loaded, not at the start: with another flag than at its own build Node would
 * compile all its modules anew (launcher.sh).
 */
export function keepForTunnels(): void {
  setFlagsFromString('--no-incremental-marking');
}
