// Where this user may write: nowhere, if there is no home or it is another's (sudo -E).
import { statSync } from 'node:fs';
import { KeyholeError } from '../errors.ts';
import { findPaths, findSshFiles, type Paths } from '../paths.ts';
import { readMemory } from '../setup/memory.ts';

/** Paths for writing; all undefined but the configuration file, which is only read, where nothing may be written. */
export function ownPaths(env: NodeJS.ProcessEnv): Paths {
  const paths = findPaths(env);
  if (foreignHome(env) === undefined) return paths;
  const { configFile } = paths;
  return { ...(Object.fromEntries(Object.keys(paths).map((key) => [key, undefined])) as unknown as Paths), configFile };
}

/** Where `setup` put the sockets if not in the usual place: what ssh's ProxyCommand is told, the other verbs find out. */
export function rememberRuntimeDir(env: NodeJS.ProcessEnv): void {
  const memory = findSshFiles()?.memory;
  const runtimeDir = memory && readMemory(memory)?.runtimeDir;
  if (runtimeDir !== undefined) env.KEYHOLE_RUNTIME_DIR ??= runtimeDir;
}

/** `~/.ssh/keyhole`. @throws KeyholeError `no-home`, `foreign-home` */
export function usableSshDir(env: NodeJS.ProcessEnv): string {
  const { sshDir } = findPaths(env);
  if (sshDir === undefined) {
    throw new KeyholeError('no-home', 'there is no home directory for the sockets of keyhole', {
      hint: 'set HOME or KEYHOLE_RUNTIME_DIR, or use `keyhole proxy --no-daemon`',
    });
  }
  const owner = foreignHome(env);
  if (owner === undefined) return sshDir;
  throw new KeyholeError('foreign-home', `HOME is ${env.HOME}, which belongs to uid ${owner}, not to you`, {
    hint: 'with sudo, use -H; or `keyhole proxy --no-daemon`',
  });
}

/** The uid that HOME belongs to, if it is there and that is not us. */
function foreignHome({ HOME }: NodeJS.ProcessEnv): number | undefined {
  const uid = process.geteuid?.();
  if (HOME === undefined || uid === undefined) return undefined;
  try {
    const owner = statSync(HOME, { throwIfNoEntry: false })?.uid;
    return owner === uid ? undefined : owner;
  } catch {
    return undefined; // it can't even be looked at, so nothing will be written there either
  }
}
