// What the tests of this folder read: the files of the tree, from its top.
import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';

export const top = resolve(import.meta.dirname, '../..');

/** The `.ts` files below a folder, as paths from the top, sorted. */
export function sourceFiles(folder: string): string[] {
  return readdirSync(resolve(top, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name).slice(top.length + 1))
    .sort();
}
