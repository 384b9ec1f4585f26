// The sftp subsystem of the embedded sshd: SFTP version 3 (draft-ietf-secsh-filexfer-02) on the local files,
// as far as OpenSSH's scp and sftp use it. Every request gets exactly one answer.
import { constants, type Stats } from 'node:fs';
import * as fs from 'node:fs/promises';
import { join, resolve } from 'node:path';
import ssh2, { type Attributes, type FileEntry, type SFTPWrapper } from 'ssh2';

const { OPEN_MODE, STATUS_CODE } = ssh2.utils.sftp;
const namesPerAnswer = 64;
/** A longer read is answered with less, as the draft allows (section 6.4). */
const maxReadBytes = 256 * 1024;

interface SftpInternals {
  _protocol: { exitStatus(channel: number, status: number): void };
  outgoing: { id: number };
}

type Handle = { file: fs.FileHandle; append: boolean } | { entries: FileEntry[] };

/** Serves one sftp channel; relative paths start at `home`. */
export function serveSftp(sftp: SFTPWrapper, home: string): void {
  const handles = new Map<number, Handle>();
  let nextHandle = 0;
  const path = (name: string) => resolve(home, name);

  const register = (id: number, handle: Handle) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(nextHandle);
    handles.set(nextHandle++, handle);
    sftp.handle(id, bytes);
  };
  const find = (bytes: Buffer): Handle => {
    const handle = bytes.length === 4 ? handles.get(bytes.readUInt32BE(0)) : undefined;
    if (handle === undefined) throw new Error('no such handle');
    return handle;
  };
  const findFile = (bytes: Buffer) => {
    const handle = find(bytes);
    if (!('file' in handle)) throw new Error('not a file');
    return handle;
  };
  let previous: Promise<void> = Promise.resolve();
  /**
   * Answers `id` with what `work` answers, or with the error it threw, or else with OK. One request after the
   * other: the draft allows any order, but scp cuts files short when answers overtake each other (seen: OpenSSH 9.2).
   */
  const answer = (id: number, work: () => Promise<'answered' | undefined>) => {
    previous = previous.then(async () => {
      try {
        if ((await work()) === undefined) sftp.status(id, STATUS_CODE.OK);
      } catch (error) {
        sftp.status(id, statusOf(error), error instanceof Error ? error.message : String(error));
      }
    });
  };

  sftp.on('OPEN', (id, name, flags, attributes) =>
    answer(id, async () => {
      const file = await fs.open(path(name), openFlags(flags), (attributes.mode ?? 0o666) & 0o777);
      register(id, { file, append: (flags & OPEN_MODE.APPEND) !== 0 });
      return 'answered';
    }),
  );
  sftp.on('READ', (id, handle, offset, length) =>
    answer(id, async () => {
      const buffer = Buffer.allocUnsafe(Math.min(length, maxReadBytes));
      const { bytesRead } = await findFile(handle).file.read(buffer, 0, buffer.length, offset);
      if (bytesRead === 0) sftp.status(id, STATUS_CODE.EOF);
      else sftp.data(id, buffer.subarray(0, bytesRead));
      return 'answered';
    }),
  );
  sftp.on('WRITE', (id, handle, offset, data) =>
    answer(id, async () => {
      const { file, append } = findFile(handle);
      for (let at = 0; at < data.length; ) {
        at += (await file.write(data, at, data.length - at, append ? null : offset + at)).bytesWritten;
      }
      return undefined;
    }),
  );
  sftp.on('CLOSE', (id, handle) =>
    answer(id, async () => {
      const entry = find(handle);
      handles.delete(handle.readUInt32BE(0));
      if ('file' in entry) await entry.file.close();
      return undefined;
    }),
  );
  sftp.on('OPENDIR', (id, name) =>
    answer(id, async () => {
      register(id, { entries: await list(path(name)) });
      return 'answered';
    }),
  );
  sftp.on('READDIR', (id, handle) =>
    answer(id, async () => {
      const entry = find(handle);
      if (!('entries' in entry)) throw new Error('not a directory');
      const names = entry.entries.splice(0, namesPerAnswer);
      if (names.length === 0) sftp.status(id, STATUS_CODE.EOF);
      else sftp.name(id, names);
      return 'answered';
    }),
  );
  const answerAttributes = (id: number, stat: () => Promise<Stats>) =>
    answer(id, async () => {
      sftp.attrs(id, attributesOf(await stat()));
      return 'answered';
    });
  sftp.on('STAT', (id, name) => answerAttributes(id, () => fs.stat(path(name))));
  sftp.on('LSTAT', (id, name) => answerAttributes(id, () => fs.lstat(path(name))));
  sftp.on('FSTAT', (id, handle) => answerAttributes(id, async () => findFile(handle).file.stat()));
  const done = (id: number, work: () => Promise<unknown>) =>
    answer(id, async () => {
      await work();
      return undefined;
    });
  sftp.on('SETSTAT', (id, name, attributes) =>
    done(id, async () => {
      if (attributes.size !== undefined) await fs.truncate(path(name), attributes.size);
      if (attributes.mode !== undefined) await fs.chmod(path(name), attributes.mode & 0o7777);
      if (attributes.mtime !== undefined) await fs.utimes(path(name), attributes.atime, attributes.mtime);
    }),
  );
  sftp.on('FSETSTAT', (id, handle, attributes) =>
    done(id, async () => {
      const { file } = findFile(handle);
      if (attributes.size !== undefined) await file.truncate(attributes.size);
      if (attributes.mode !== undefined) await file.chmod(attributes.mode & 0o7777);
      if (attributes.mtime !== undefined) await file.utimes(attributes.atime, attributes.mtime);
    }),
  );
  sftp.on('MKDIR', (id, name, attributes) => done(id, () => fs.mkdir(path(name), attributes.mode ?? 0o777)));
  sftp.on('RMDIR', (id, name) => done(id, () => fs.rmdir(path(name))));
  sftp.on('REMOVE', (id, name) => done(id, () => fs.unlink(path(name))));
  // ssh2 undoes OpenSSH's order of the two names; its types do not know.
  sftp.on('SYMLINK', (id, link, target) => done(id, () => fs.symlink(target, path(link))));
  sftp.on('RENAME', (id, from, to) =>
    done(id, async () => {
      // Section 6.5: it is an error if the new name exists.
      if (await fs.lstat(path(to)).catch(() => undefined)) throw new Error('the new name exists already');
      await fs.rename(path(from), path(to));
    }),
  );
  const answerName = (id: number, name: () => Promise<string>) =>
    answer(id, async () => {
      const filename = await name();
      sftp.name(id, [{ filename, longname: filename, attrs: {} as Attributes }]);
      return 'answered';
    });
  sftp.on('REALPATH', (id, name) => answerName(id, async () => path(name)));
  sftp.on('READLINK', (id, name) => answerName(id, () => fs.readlink(path(name))));
  sftp.on('EXTENDED', (id) => sftp.status(id, STATUS_CODE.OP_UNSUPPORTED));
  sftp.once('end', () => {
    // The client waits for the end of the channel, and fails without an exit status, which ssh2 offers for
    // other channels only.
    const { _protocol, outgoing } = sftp as unknown as SftpInternals;
    _protocol.exitStatus(outgoing.id, 0);
    sftp.end();
  });
  sftp.once('close', async () => {
    await previous;
    for (const handle of handles.values()) if ('file' in handle) handle.file.close().catch(() => {});
    handles.clear();
  });
}

function openFlags(flags: number): number {
  const read = (flags & OPEN_MODE.READ) !== 0;
  const write = (flags & (OPEN_MODE.WRITE | OPEN_MODE.APPEND)) !== 0;
  let result = write ? (read ? constants.O_RDWR : constants.O_WRONLY) : constants.O_RDONLY;
  if (flags & OPEN_MODE.APPEND) result |= constants.O_APPEND;
  if (flags & OPEN_MODE.CREAT) result |= constants.O_CREAT;
  if (flags & OPEN_MODE.TRUNC) result |= constants.O_TRUNC;
  if (flags & OPEN_MODE.EXCL) result |= constants.O_EXCL;
  return result;
}

async function list(folder: string): Promise<FileEntry[]> {
  const names = ['.', '..', ...(await fs.readdir(folder))];
  const entries = await Promise.all(
    names.map(async (name) => {
      const stats = await fs.lstat(join(folder, name)).catch(() => undefined); // Removed since.
      if (stats === undefined) return [];
      return [{ filename: name, longname: longName(name, stats), attrs: attributesOf(stats) }];
    }),
  );
  return entries.flat();
}

function attributesOf({ mode, uid, gid, size, atimeMs, mtimeMs }: Stats): Attributes {
  return { mode, uid, gid, size, atime: Math.floor(atimeMs / 1000), mtime: Math.floor(mtimeMs / 1000) };
}

/** A line as `ls -l` prints it, which sftp shows as it comes (section 7). */
function longName(name: string, stats: Stats): string {
  const type = stats.isDirectory() ? 'd' : stats.isSymbolicLink() ? 'l' : '-';
  const bits = [...'rwxrwxrwx'].map((letter, index) => (stats.mode & (0o400 >> index) ? letter : '-')).join('');
  const [, month, day, year] = stats.mtime
    .toUTCString()
    .split(/[ ,]+/)
    .map((part) => part) as string[];
  const owner = `${String(stats.uid).padEnd(8)} ${String(stats.gid).padEnd(8)}`;
  return `${type}${bits} ${String(stats.nlink).padStart(4)} ${owner} ${String(stats.size).padStart(8)} ${month} ${day}  ${year} ${name}`;
}

function statusOf(error: unknown): number {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return STATUS_CODE.NO_SUCH_FILE;
  if (code === 'EACCES' || code === 'EPERM') return STATUS_CODE.PERMISSION_DENIED;
  return STATUS_CODE.FAILURE;
}
