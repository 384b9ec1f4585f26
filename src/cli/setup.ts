// `keyhole setup`: makes ssh go through keyhole. All changes are decided on first, shown, then made (setup/plan.ts).
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { loadSettings } from '../config.ts';
import { readConfigFile } from '../config-file.ts';
import { KeyholeError } from '../errors.ts';
import { hasUserManager } from '../helper/spawn-daemon.ts';
import { findPaths, findSshFiles, type SshFiles } from '../paths.ts';
import { ensurePrivateFolder } from '../private-folder.ts';
import { type Block, renderForWindows, renderHost, renderTables } from '../setup/block.ts';
import { makeChange, showChange } from '../setup/change.ts';
import { chooseFolder, fileSystemType, isFolder } from '../setup/folder.ts';
import { includedPath, makePlan, type Plan } from '../setup/plan.ts';
import { askApplied, sampleHost } from '../setup/ssh.ts';
import { disable, enable } from '../setup/systemd.ts';
import { ownPaths } from './own-paths.ts';
import type { VerbContext } from './run.ts';

export interface SetupFlags {
  print: boolean;
  windows: boolean;
  dryRun: boolean;
  /** Undefined: as last time. So are the next two. */
  users: string[] | undefined;
  patterns: string[] | undefined;
  service: boolean | undefined;
}

export async function setup(flags: SetupFlags, { terminal, env }: VerbContext): Promise<void> {
  const files = sshFiles();
  const plan = planFor(files, flags, env);
  if (flags.windows) return terminal.print(renderForWindows(plan.block));
  if (flags.print) return terminal.print(renderTables(plan.block) + renderHost(plan.block));
  const shown = plan.changes.filter(({ path }) => path !== files.memory).map(showChange);
  for (const text of shown) terminal.print(text);
  if (flags.dryRun) return terminal.print(shown.length === 0 ? 'nothing would change' : 'nothing was changed');
  apply(plan, files);
  if (shown.length === 0) terminal.print('all is in place already');
  for (const note of [...plan.notes, ...overridden(plan.block)]) terminal.print(`note: ${note}`);
  terminal.print(`ssh reaches i-…, mi-… and *.ec2 through keyhole now; to undo it: keyhole setup --remove`);
}

/** @throws KeyholeError `no-home` */
export function sshFiles(): SshFiles {
  const files = findSshFiles();
  if (files !== undefined) return files;
  throw new KeyholeError('no-home', 'the password database has no home directory of this user, where ssh would look', {
    hint: 'name a configuration with ssh -F; `keyhole setup --print` as another user shows the lines',
  });
}

function planFor(files: SshFiles, { users, patterns, service }: SetupFlags, env: NodeJS.ProcessEnv): Plan {
  const { configFile, ...ownFolders } = ownPaths(env);
  const folder = chooseFolder({
    home: files.home,
    uid: process.geteuid?.() ?? 0,
    env,
    usedDefault: findPaths({ HOME: env.HOME }).sshDir,
    fileSystemType,
    isFolder,
  });
  return makePlan(
    {
      files,
      env,
      command: launcher(),
      folder,
      hasManager: hasUserManager(env),
      ownFolders: Object.values(ownFolders),
      resumeTimeoutMs: loadSettings({ env, file: configFile }).resumeTimeoutMs,
      configFile: configFile === undefined ? { values: {}, hosts: [], forwards: {} } : readConfigFile(configFile),
    },
    { users, patterns, service },
  );
}

/** The launcher that started this program: installed, or dist/keyhole of a checkout. @throws KeyholeError `no-launcher` */
function launcher(): string {
  const path = resolve(dirname(process.argv[1]!), '..', 'keyhole');
  if (existsSync(path)) return path;
  throw new KeyholeError('no-launcher', `${path} is missing, so ssh has nothing to run`, {
    hint: 'in a checkout: npm run build, then dist/keyhole setup',
  });
}

function apply({ changes, service }: Plan, files: SshFiles): void {
  makeOwnFolder(dirname(files.ownConfig));
  if (service?.listen === false) disable();
  for (const change of changes) makeChange(change, byHand(change.path, files));
  if (service?.listen) enable(service);
}

/** @throws KeyholeError `setup-file`, `unsafe-folder` */
function makeOwnFolder(folder: string): void {
  try {
    ensurePrivateFolder(folder);
  } catch (error) {
    if (!(error instanceof KeyholeError) || error.code !== 'no-folder') throw error;
    throw new KeyholeError('setup-file', error.message, {
      hint: `make ${dirname(folder)} yours to write to; or name a file with the lines of keyhole setup --print by ssh -F`,
      cause: error,
    });
  }
}

function byHand(path: string, files: SshFiles): string | undefined {
  return path === files.config ? `put this line at its top by hand: Include ${includedPath}` : undefined;
}

/** What ssh makes of it: lines above ours may win. @throws KeyholeError `bad-ssh-config` */
function overridden(block: Block): string[] {
  const wanted = /ProxyCommand (.*)/.exec(renderHost(block))![1]!;
  const found = askApplied(sampleHost).get('proxycommand');
  if (found === wanted) return [];
  return [`other lines of your configuration win: ssh ${sampleHost} runs ${found ?? 'no ProxyCommand'}`];
}
