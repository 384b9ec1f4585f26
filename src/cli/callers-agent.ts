// Finds the caller's own ssh-agent for the daemon (agent/upstream.ts says in which order).
import { execFile } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isOwnSocket } from '../agent/socket-file.ts';
import { findUpstream } from '../agent/upstream.ts';

/** @param sshDir where our own sockets are; @param named by an option */
export function callersAgent(
  env: NodeJS.ProcessEnv,
  sshDir: string | undefined,
  named: string | undefined,
): Promise<string | undefined> {
  return findUpstream({
    named,
    helper: env.SSH_AUTH_SOCK,
    readSshEnvironment: async () => readNow(`/proc/${process.ppid}/environ`),
    readLaunchd,
    setting: undefined, // the daemon knows it
    look: async (path) => (isSocket(path) ? (isOurs(path, sshDir) ? 'ours' : 'other') : 'none'),
  });
}

/** At once: the kernel has it in memory, and reading it asynchronously would start Node's threads for nothing else. */
function readNow(file: string): Uint8Array | undefined {
  try {
    return readFileSync(file);
  } catch {
    return undefined; // of another user, or no /proc
  }
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
