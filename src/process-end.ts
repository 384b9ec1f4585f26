// That a process which has carried bytes comes to its end.

let isKept = false;

/**
 * A compiler thread of V8 may wait for the main thread to collect garbage, which that never does once it waits in exit() for such
 * threads to end: the process then stays for ever (nodejs/node#54918; seen with Node 24.21 in Maglev, at the tenth
 * relayed upload of 200 MB). So garbage is collected first, which lets the thread go on.
 */
export function collectAtEnd(): void {
  if (isKept) return;
  isKept = true;
  process.on('exit', collect);
}

/** To load `node:v8` takes 4 ms, for which no start has to wait. */
function collect(): void {
  process.getBuiltinModule('node:v8').setFlagsFromString('--expose-gc');
  (process.getBuiltinModule('node:vm').runInNewContext('gc') as () => void)();
}
