// Finds the caller's own ssh-agent for the daemon (agent/upstream.ts says in which order).
import { execFile } from 'node:child_process';
import { statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isOwnSocket } from '../agent/socket-file.ts';
import { findUpstream } from '../agent/upstream.ts';

/** @param sshDir where our own sockets are */
export function callersAgent(env: NodeJS.ProcessEnv, sshDir: string | undefined): Promise<string | undefined> {
  return findUpstream({
    helper: env.SSH_AUTH_SOCK,
    readSshEnvironment: () => readFile(`/proc/${process.ppid}/environ`).catch(() => undefined),
    readLaunchd,
    setting: undefined, // the daemon knows it
    look: async (path) => (isSocket(path) ? (isOurs(path, sshDir) ? 'ours' : 'other') : 'none'),
  });
}

function isOurs(path: string, sshDir: string | undefined): boolean {
  return sshDir !== undefined && isOwnSocket(path, [sshDir, join(sshDir, 'agent')]);
}

function isSocket(path: string): boolean {
  try {
    return statSync(path).isSocket();
  } catch {
    return false;
  }
}

const launchctlTimeoutMs = 1_000;

async function readLaunchd(): Promise<string | undefined> {
  if (process.platform !== 'darwin') return undefined;
  return await new Promise((resolve) => {
    execFile('/bin/launchctl', ['getenv', 'SSH_AUTH_SOCK'], { timeout: launchctlTimeoutMs }, (error, stdout) =>
      resolve(error ? undefined : stdout),
    );
  });
}
