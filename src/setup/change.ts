// Changes to files, decided on first, shown as a diff, and then made: a file of the user is replaced whole or not at all,
// keeps its mode and its owner, and stays a link if it is one.
import {
  chmodSync,
  chownSync,
  closeSync,
  fsyncSync,
  lstatSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  type Stats,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { getSystemErrorMessage } from 'node:util';
import { KeyholeError } from '../errors.ts';
import { makeFolder } from '../private-folder.ts';
import { unifiedDiff } from './diff.ts';

const tryAgain = 'run keyhole setup again';

export interface Change {
  path: string;
  /** Undefined where there is no file. */
  before: Buffer | undefined;
  /** Undefined where the file is to go. */
  after: Buffer | undefined;
}

/** Undefined where the file is already as it should be. @throws KeyholeError `setup-file` */
export function changeOf(path: string, after: (before: Buffer | undefined) => Buffer | undefined): Change | undefined {
  const before = readIfThere(path);
  const wanted = after(before);
  const same = before === undefined || wanted === undefined ? before === wanted : before.equals(wanted);
  return same ? undefined : { path, before, after: wanted };
}

/** As text for people: bytes that are not UTF-8 are shown as what they are not. */
export function showChange({ path, before, after }: Change): string {
  return unifiedDiff(path, before?.toString('utf8'), after?.toString('utf8'));
}

/** @param byHand what the user can do where it is not possible. @throws KeyholeError `setup-file` */
export function makeChange({ path, before, after }: Change, byHand: string = tryAgain): void {
  try {
    if (after === undefined) unlinkSync(path);
    else if (before === undefined) writeNew(path, after);
    else rewrite(path, before, after, byHand);
  } catch (error) {
    if (error instanceof KeyholeError) throw error;
    const { code = '', errno } = error as NodeJS.ErrnoException;
    const hint = ['EACCES', 'EPERM'].includes(code) ? `make its folder yours to write to, then ${byHand}` : byHand;
    throw failed(path, `cannot be written: ${errno === undefined ? error : getSystemErrorMessage(errno)}`, hint, error);
  }
}

/** @throws KeyholeError `setup-file` */
export function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' && lstatSync(path, { throwIfNoEntry: false }) === undefined) return undefined;
    throw failed(
      path,
      code === 'ENOENT' ? 'is a link to nowhere' : `cannot be read: ${code}`,
      `mend it, then ${tryAgain}`,
      error,
    );
  }
}

/** Private: ssh refuses a configuration that others can write. */
function writeNew(path: string, content: Buffer): void {
  makeFolder(dirname(path));
  replace(path, content, (unfinished) => chmodSync(unfinished, 0o600));
}

function rewrite(path: string, before: Buffer, after: Buffer, byHand: string): void {
  const real = realpathSync(path);
  const status = statSync(real);
  // Root may write everywhere; who took his own right to write away meant it.
  if ((status.mode & 0o200) === 0) throw failed(path, 'is read-only', `chmod u+w ${path}, or ${byHand}`);
  if (!readFileSync(real).equals(before)) throw failed(path, 'has just been changed by somebody else', tryAgain);
  // Another name of the same file is to stay one, and its owner must not change.
  if (status.nlink > 1 || !canKeepOwner(dirname(real), status)) writeFileSync(real, after);
  else replace(real, after, (unfinished) => keepStatus(unfinished, status));
}

/** Whether a file that is made anew in the folder can get this owner and group: root's can, others' if they are theirs. */
function canKeepOwner(folder: string, { uid, gid }: Stats): boolean {
  const isSetgid = (statSync(folder).mode & 0o2000) !== 0;
  const newGid = isSetgid ? statSync(folder).gid : process.getegid?.();
  return process.geteuid?.() === 0 || (uid === process.geteuid?.() && gid === newGid);
}

function keepStatus(path: string, { mode, uid, gid }: Stats): void {
  const own = statSync(path);
  if (own.uid !== uid || own.gid !== gid) chownSync(path, uid, gid);
  chmodSync(path, mode & 0o7777);
}

/** There is never a moment with half a file. */
function replace(path: string, content: Buffer, finish: (unfinished: string) => void): void {
  const unfinished = join(dirname(path), `.${basename(path)}.keyhole-${process.pid}`);
  const fd = openSync(unfinished, 'wx', 0o600);
  try {
    writeFileSync(fd, content);
    fsyncSync(fd);
    finish(unfinished);
    renameSync(unfinished, path);
  } catch (error) {
    unlinkSync(unfinished);
    throw error;
  } finally {
    closeSync(fd);
  }
}

function failed(path: string, what: string, hint: string, cause?: unknown): KeyholeError {
  return new KeyholeError('setup-file', `${path} ${what}`, { hint, cause });
}
