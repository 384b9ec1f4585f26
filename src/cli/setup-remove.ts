// `keyhole setup --remove`: takes back what `setup` did and what keyhole has left behind since, and nothing else.
import { lstatSync, readdirSync, rmdirSync, rmSync, unlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { SshFiles } from '../paths.ts';
import { changeOf, makeChange, showChange } from '../setup/change.ts';
import { removeInclude } from '../setup/include-line.ts';
import { readMemory, removeEmpty } from '../setup/memory.ts';
import { includedPath, includedPaths } from '../setup/plan.ts';
import { disable, reload, serviceUnit, socketUnit, unitFolder } from '../setup/systemd.ts';
import { stopDaemon } from './daemon.ts';
import { ownPaths, usableSshDir } from './own-paths.ts';
import type { VerbContext } from './run.ts';
import { sshFiles } from './setup.ts';

/** Files of ours in `~/.ssh/keyhole`, besides sockets. */
const ownNames = ['config', 'hosts', 'known_hosts', 'known_hosts.old', 'setup.json', 'start.lock'];

export async function removeSetup({ dryRun }: { dryRun: boolean }, context: VerbContext): Promise<void> {
  const { terminal, env, signal } = context;
  const files = sshFiles();
  const made = readMemory(files.memory)?.made ?? [];
  const units = unitFolder(files.home, env);
  const unitChanges = [socketUnit, serviceUnit].map((name) => changeOf(join(units, name), () => undefined));
  const changes = [
    changeOf(files.config, (config) => config && removeInclude(config, includedPaths(files))),
    ...unitChanges,
    changeOf(files.ownConfig, () => undefined),
    changeOf(files.hosts, () => undefined),
  ].filter((change) => change !== undefined);
  const folders = ownFolders(files, env);
  for (const change of changes) terminal.print(showChange(change));
  for (const folder of folders) terminal.print(`remove ${folder}/`);
  if (changes.length + folders.length === 0) return terminal.print('there is nothing to remove');
  if (dryRun) return terminal.print('nothing was changed');

  const hadUnits = unitChanges.some((change) => change !== undefined);
  if (hadUnits) disable();
  await stopDaemon(usableSshDir(env), signal);
  for (const change of changes) makeChange(change, `take the line "Include ${includedPath}" out by hand`);
  if (hadUnits) reload();
  for (const folder of folders) removeOwn(folder, env);
  removeEmpty(made);
  const left = folders.filter(isThere);
  for (const folder of left) terminal.print(`note: ${folder} has files that are not keyhole's, and stays`);
  terminal.print('ssh is as it was before keyhole setup');
}

/** Those that are there. */
function ownFolders(files: SshFiles, env: NodeJS.ProcessEnv): string[] {
  const { stateDir, compileCacheDir, sshDir } = ownPaths(env);
  const cache = compileCacheDir && dirname(compileCacheDir);
  const all = [dirname(files.ownConfig), sshDir, stateDir, cache].filter((path) => path !== undefined);
  return [...new Set(all)].filter(isThere);
}

/** State and cache are ours as a whole; in the folder below `~/.ssh` others may have put something. */
function removeOwn(folder: string, env: NodeJS.ProcessEnv): void {
  const { stateDir, compileCacheDir } = ownPaths(env);
  if (folder === stateDir || (compileCacheDir !== undefined && folder === dirname(compileCacheDir))) {
    rmSync(folder, { recursive: true, force: true });
    return;
  }
  for (const name of ownNames) rmSync(join(folder, name), { force: true });
  for (const place of [join(folder, 'agent'), folder]) {
    if (!isThere(place)) continue;
    for (const entry of readdirSync(place, { withFileTypes: true })) {
      if (entry.isSocket()) unlinkSync(join(place, entry.name));
    }
    removeFolder(place);
  }
}

function removeFolder(path: string): void {
  try {
    rmdirSync(path);
  } catch (error) {
    if (!['ENOTEMPTY', 'EEXIST', 'ENOENT'].includes((error as NodeJS.ErrnoException).code!)) throw error;
  }
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
