// The part of a node's file system that matters to commands: homes, and the tools by which a script finds them. Scripts run
// here for real, as the user who runs the region; the node's own `getent` and `sshd` come first in PATH, so that neither the
// script nor keyhole has to know.
import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RunScript, ScriptResult } from '../commands/commands.ts';

export interface NodeFiles {
  folder: string;
  /** `/home/USER` of the node. */
  home(user: string): string;
  /** As the SSM agent runs it: a file without a first line that names an interpreter, given to `sh -c`. */
  runScript: RunScript;
  /** Puts a tool of the node's own before the machine's. */
  install(name: string, script: string): void;
}

export interface NodeFilesOptions {
  /** Where everything is; made here. */
  folder: string;
  /** Login name → what a passwd entry has besides; default of each: the current user's ids. */
  users: Record<string, { uid?: number; gid?: number }>;
  /** Of OpenSSH's server, for `sshd -T`. */
  sshdConfig?: string;
}

export function makeNodeFiles({ folder, users, sshdConfig }: NodeFilesOptions): NodeFiles {
  const bin = join(folder, 'bin');
  mkdirSync(bin, { recursive: true });
  const home = (user: string) => join(folder, 'home', user);
  const own = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  const entries = Object.entries(users).map(([name, ids]) => {
    mkdirSync(home(name), { recursive: true });
    const { uid, gid } = { ...own, ...ids };
    return `${name}:x:${uid}:${gid}::${home(name)}:/bin/sh\n`;
  });
  writeFileSync(join(folder, 'passwd'), entries.join(''));
  let runs = 0;
  const files: NodeFiles = {
    folder,
    home,
    install(name, script) {
      writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`);
      chmodSync(join(bin, name), 0o755);
    },
    runScript({ lines, timeoutMs }) {
      const path = join(folder, `_script-${++runs}.sh`);
      writeFileSync(path, `${lines.join('\n')}\n`, { mode: 0o500 });
      return run(path, folder, timeoutMs, { ...process.env, PATH: `${bin}:${process.env.PATH}` });
    },
  };
  files.install('getent', `[ "$1" = passwd ] && grep "^$2:" '${join(folder, 'passwd')}'`);
  if (sshdConfig !== undefined) files.install('sshd', `exec /usr/sbin/sshd "$@" -f '${sshdConfig}'`);
  return files;
}

function run(path: string, cwd: string, timeoutMs: number, env: NodeJS.ProcessEnv): Promise<ScriptResult> {
  return new Promise((resolve) => {
    const options = { cwd, env, timeout: timeoutMs, killSignal: 'SIGKILL' as const, encoding: 'utf8' as const };
    execFile('sh', ['-c', path], options, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
      resolve({ status, stdout, stderr });
    });
  });
}
