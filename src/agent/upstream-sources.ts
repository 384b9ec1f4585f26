// The readers behind `findUpstream` on a real machine. For the process that ssh started: only it shares the caller's
// environment and sees the same process ids.
import { execFile } from 'node:child_process';
import { statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { isOwnSocket } from './socket-file.ts';
import type { UpstreamSources } from './upstream.ts';

/** launchctl answers at once or is not well. */
const launchctlTimeoutMs = 2_000;

export interface UpstreamSearch {
  env: NodeJS.ProcessEnv;
  /** Process id of the ssh that asks: the parent of the helper. */
  sshPid: number;
  setting: string | undefined;
  /** Folders in which our own agent sockets are. */
  ownFolders: readonly string[];
}

export function upstreamSources({ env, sshPid, setting, ownFolders }: UpstreamSearch): UpstreamSources {
  return {
    helper: env.SSH_AUTH_SOCK,
    // Not readable where ssh runs as another user, and on systems without /proc.
    readSshEnvironment: () => readFile(`/proc/${sshPid}/environ`).catch(() => undefined),
    readLaunchd: process.platform === 'darwin' ? readLaunchd : async () => undefined,
    setting,
    look: async (path) => {
      try {
        if (!statSync(path).isSocket()) return 'none';
      } catch {
        return 'none';
      }
      return isOwnSocket(path, ownFolders) ? 'ours' : 'other';
    },
  };
}

function readLaunchd(): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile('/bin/launchctl', ['getenv', 'SSH_AUTH_SOCK'], { timeout: launchctlTimeoutMs }, (error, stdout) =>
      resolve(error ? undefined : stdout),
    );
  });
}
