// V8's cache of our compiled code, which shortens the start. What lies there is run as us, so it must be a
// folder that is ours alone; where there is none, and none can be made, we start without.
import { lstatSync } from 'node:fs';
import { enableCompileCache } from 'node:module';
import { makeFolder } from '../private-folder.ts';

/** To be called before much code is loaded; it costs more than it saves where little is. */
export function useCompileCache(folder: string | undefined): void {
  if (folder === undefined) return;
  try {
    makeFolder(folder);
    if (isOurs(folder)) enableCompileCache(folder);
  } catch {
    // No home, a read-only one, a file in the way.
  }
}

function isOurs(folder: string): boolean {
  const status = lstatSync(folder);
  return status.isDirectory() && status.uid === process.geteuid?.() && (status.mode & 0o022) === 0;
}
