// That a process which has carried bytes comes to its end.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

let isKept = false;

/**
 * A compiler thread of V8 may wait for the main thread to collect garbage, which that never does once it waits in exit() for such
 * threads to end: the process then stays for ever (nodejs/node#54918; seen with Node 24.21 in Maglev, one of some hundred
 * relaying helpers after 200 MB). So garbage is collected first, which lets the thread go on.
 */
export function collectAtEnd(): void {
  if (isKept) return;
  isKept = true;
  process.on('exit', collect);
}

function collect(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}
