// How V8 keeps the heap of a process that carries tunnels, and that such a process can end.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

let isKept = false;

/**
 * Buffers count against the old generation as long as they are young, so that fast transfers would have V8 mark all that is
 * old every few megabytes (three times the CPU of the tunnel itself); without incremental marking it does so when something old
 * needs the room. Said when everything is loaded, not at the start: with another flag than at its own build Node would
 * compile all its modules anew (launcher.sh).
 */
export function keepForTunnels(): void {
  if (isKept) return;
  isKept = true;
  setFlagsFromString('--no-incremental-marking');
  process.on('exit', collect);
}

/**
 * A compiler thread of V8 may wait for the main thread to collect garbage, which that never does once it waits in exit() for
 * such threads to end; then the process stays for ever (nodejs/node#54918; seen with Node 24.21 in Maglev and in Sparkplug, in
 * one of some hundred ends, since without incremental marking there is often something to collect). So collect first.
 */
function collect(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}
