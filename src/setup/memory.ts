// What `setup` remembers from one run to the next: the user's options, and which folders and files were not there before
// it, so that `--remove` can leave things as they were.
import { existsSync, readdirSync, readFileSync, rmdirSync, statSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';

export interface SetupOptions {
  /** `NAME`, or `PATTERN=NAME`. */
  users: string[];
  patterns: string[];
  /** Undefined: where there is a manager for it. */
  service: boolean | undefined;
}

export interface Memory {
  options: SetupOptions;
  /** Paths that were missing before the first run. */
  made: string[];
  /** Where the sockets are, if not in the usual place. */
  runtimeDir?: string;
}

export const noOptions: SetupOptions = { users: [], patterns: [], service: undefined };

/** Undefined where nothing, or nothing that can be read, is remembered. */
export function readMemory(file: string): Memory | undefined {
  try {
    const { options, made, runtimeDir } = JSON.parse(readFileSync(file, 'utf8'));
    const { users, patterns, service } = options;
    return {
      options: {
        users: texts(users),
        patterns: texts(patterns),
        service: typeof service === 'boolean' ? service : undefined,
      },
      made: texts(made),
      ...(typeof runtimeDir === 'string' && { runtimeDir }),
    };
  } catch {
    return undefined;
  }
}

export function serializeMemory(memory: Memory): Buffer {
  return Buffer.from(`${JSON.stringify(memory, undefined, 2)}\n`);
}

/** Those of the paths, and of the folders above them below `home`, that are not there. */
export function findMissing(home: string, paths: readonly (string | undefined)[]): string[] {
  const missing = new Set<string>();
  for (const path of paths) {
    for (let at = path; at?.startsWith(`${home}/`) && !existsSync(at); at = dirname(at)) {
      missing.add(at);
    }
  }
  return [...missing];
}

/** Removes those of the paths that are empty now, the innermost first. @returns what was removed */
export function removeEmpty(paths: readonly string[]): string[] {
  const innermostFirst = [...paths].sort((a, b) => b.length - a.length);
  return innermostFirst.filter((path) => {
    try {
      const status = statSync(path);
      if (status.isDirectory() ? readdirSync(path).length > 0 : status.size > 0) return false;
      if (status.isDirectory()) rmdirSync(path);
      else unlinkSync(path);
      return true;
    } catch {
      return false; // not there any more, or not ours to remove
    }
  });
}

function texts(value: unknown): string[] {
  if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) throw new TypeError('not texts');
  return value;
}
