// How V8 keeps the heap of a process that carries tunnels, and that such a process can end. V8 passes over what it does not know.
import { setFlagsFromString } from 'node:v8';

/**
 * Buffers count against the old generation as long as they are young, so that fast transfers would have V8 mark all that is
 * old every few megabytes (three times the CPU of the tunnel itself); without incremental marking it does so when something old
 * needs the room. Said when everything is loaded, not at the start: with another flag than at its own build Node would
 * compile all its modules anew (launcher.sh).
 */
export function keepForTunnels(): void {
  setFlagsFromString('--no-incremental-marking');
  // A compiler thread that waits for the main thread to collect garbage, while this one waits for it to end, in exit(): then
  // the process stays for ever (nodejs/node#54918; observed with Node 24.21 twice in some ten thousand runs, in Maglev).
  setFlagsFromString('--no-maglev-build-code-on-background');
}
