// The log of one process: a file, since the terminal belongs to ssh. Lines are written at once, so that the last one
// before a crash is there; at the levels meant for daily use that is a few lines per connection.
import { closeSync, openSync, writeSync } from 'node:fs';
import { ConfigError } from '../errors.ts';
import { type Log, lineLog, silent } from '../log.ts';
import type { Settings } from '../settings.ts';

/** @throws ConfigError `bad-log-file` */
export function openLog({ logFile, logLevel }: Pick<Settings, 'logFile' | 'logLevel'>): Log {
  if (logFile === undefined) return silent;
  let fd: number;
  try {
    fd = openSync(logFile, 'a', 0o600);
  } catch (error) {
    throw new ConfigError(
      'bad-log-file',
      `cannot write to the log file ${logFile}: ${(error as NodeJS.ErrnoException).code}`,
      {
        cause: error,
      },
    );
  }
  let failed = false;
  return lineLog(logLevel, (line) => {
    if (failed) return;
    try {
      writeSync(fd, `${process.pid} ${line}\n`);
    } catch {
      failed = true; // a full disk must not end anybody's session
      closeSync(fd);
    }
  });
}
