// That a process which carried tunnels can end.

/**
 * A compiler thread of V8 may wait for the main thread to collect garbage, which that never does once it waits in exit() for
 * such threads to end; then the process stays for ever (nodejs/node#54918; seen with Node 24.21 in Maglev and in Sparkplug, in
 * one of some hundred ends, since without incremental marking there is often something to collect). So collect first.
 */
export function collectAtExit(): void {
  // Of --expose-gc, which stands with the other flag (own-process.ts).
  process.on('exit', () => globalThis.gc?.());
}
