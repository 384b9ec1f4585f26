// Where the daemon's sockets go, decided once: ssh has them as a fixed line, so what holds in one shell must hold in cron
// and in editors too.
import { existsSync, statfsSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { maxSocketPath } from '../private-folder.ts';

export interface FolderFacts {
  /** From the password database, as ssh has it. */
  home: string;
  uid: number;
  env: NodeJS.ProcessEnv;
  /** Where the helper looks while nobody says otherwise: HOME need not be ssh's. */
  usedDefault: string | undefined;
  /** As statfs(2) has it; undefined where it is not known. */
  fileSystemType(path: string): number | undefined;
  isFolder(path: string): boolean;
}

export interface SocketFolder {
  path: string;
  /** As ssh is to read it. */
  written: string;
  /** Whether `keyhole` has to be told. */
  named: boolean;
}

/** Bytes of `ec2-user@i-0123456789abcdef0.ap-southeast-1.PROFILE:22` and the folder `agent` that it is in. */
const roomForTarget = 60;
/**
 * On these other machines may have the same folder, or sockets cannot be made (statfs(2), magic numbers): NFS, SMB, CIFS,
 * SMB2, AFS, OpenAFS' and Coda's, 9p, Ceph, Lustre, GPFS, FUSE.
 */
const networkTypes = new Set([
  0x6969, 0x517b, 0xff534d42, 0xfe534d42, 0x5346414f, 0x6b414653, 0x73757245, 0x01021997, 0x00c36400, 0x0bd00bd0,
  0x47504653, 0x65735546,
]);

export function chooseFolder(facts: FolderFacts): SocketFolder {
  const { home, env, usedDefault } = facts;
  const usual = join(home, '.ssh', 'keyhole');
  const wanted = env.KEYHOLE_RUNTIME_DIR;
  const path = wanted !== undefined && isAbsolute(wanted) ? wanted : (insteadOf(usual, facts) ?? usual);
  return {
    path,
    written: path === usual ? '~/.ssh/keyhole' : path,
    named: path !== usual || usedDefault !== usual,
  };
}

/** The user's folder of systemd (file-hierarchy(7)), where the usual one will not do. */
function insteadOf(usual: string, { home, uid, fileSystemType, isFolder }: FolderFacts): string | undefined {
  const fits = Buffer.byteLength(usual) + roomForTarget <= maxSocketPath;
  if (fits && !networkTypes.has(fileSystemType(home) ?? 0)) return undefined;
  const runtime = `/run/user/${uid}`;
  return isFolder(runtime) ? join(runtime, 'keyhole') : undefined;
}

export function fileSystemType(path: string): number | undefined {
  try {
    return statfsSync(path).type;
  } catch {
    return undefined;
  }
}

export const isFolder = existsSync;
