// The daemon's log file: at most three files of 5 MB. Written at once, since a daemon's last line is the one that matters.
import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { type Log, type LogLevel, lineLog } from '../log.ts';
import { makeFolder } from '../private-folder.ts';

const maxFileBytes = 5 * 2 ** 20;
/** `FILE`, `FILE.1`, `FILE.2`. */
const files = 3;

/** A log that goes on in silence where its file can't be written (a full disk), and tries again with the next line. */
export function rotatingLog(file: string, level: LogLevel): Log {
  let fd: number | undefined;
  let size = 0;
  const open = () => {
    makeFolder(dirname(file));
    fd = openSync(file, 'a', 0o600);
    size = fstatSync(fd).size;
  };
  const rotate = () => {
    if (fd !== undefined) closeSync(fd);
    fd = undefined;
    for (let n = files - 1; n > 0; n--) {
      const from = n === 1 ? file : `${file}.${n - 1}`;
      try {
        renameSync(from, `${file}.${n}`);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
    }
  };
  return lineLog(level, (line) => {
    try {
      if (size > maxFileBytes) rotate();
      if (fd === undefined) open();
      size += writeSync(fd!, `${process.pid} ${line}\n`);
    } catch {
      // Said above.
    }
  });
}
