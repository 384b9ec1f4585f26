// Asks for an MFA code at the terminal of whoever started us, never on stdin or stdout: those are ssh's. Where there is no
// terminal, or it belongs to another job, it is an error and nobody is kept waiting.
import { spawnSync } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync, writeSync } from 'node:fs';
import { isatty, ReadStream } from 'node:tty';
import { KeyholeError } from '../errors.ts';
import { printable } from '../printable.ts';

/** @param onAsk a person is about to be asked, and takes the time of a person */
export function mfaCodeAtTerminal(onAsk: () => void): (serial: string) => Promise<string> {
  return async (serial) => {
    const fd = openTerminal();
    if (fd === undefined) throw noTerminal(serial);
    onAsk();
    // It has no echo to take away: a code is good once, and a terminal without echo is left so by a process that is killed.
    const input = new ReadStream(fd);
    try {
      for (let tries = 0; tries < maxTries; tries++) {
        writeSync(fd, `keyhole: MFA code of ${printable(serial)}: `);
        const line = await readLine(input);
        if (/^[0-9]{6}$/.test(line)) return line;
        if (line === '') break;
      }
    } finally {
      input.destroy();
    }
    throw new KeyholeError('mfa-needed', `no MFA code of ${printable(serial)} was given`, {
      hint: 'a code is six digits',
    });
  };
}

const maxTries = 3;

/** Of the controlling terminal; undefined where there is none, or reading from it would stop us (SIGTTIN). */
function openTerminal(): number | undefined {
  let fd: number;
  try {
    fd = openSync('/dev/tty', constants.O_RDWR | constants.O_NOCTTY);
  } catch {
    return undefined;
  }
  if (isatty(fd) && isForeground()) return fd;
  closeSync(fd);
  return undefined;
}

/** Whether our process group is the one that may read: tcgetpgrp(3), which Node has not. */
function isForeground(): boolean {
  const [group, foreground] = processGroups();
  return group !== undefined && group === foreground;
}

function processGroups(): (string | undefined)[] {
  try {
    // proc_pid_stat(5): behind the name, which may have anything in it, state, ppid, pgrp, session, tty_nr, tpgid.
    const fields = readFileSync('/proc/self/stat', 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ');
    return [fields[2], fields[5]];
  } catch {
    const { stdout } = spawnSync('ps', ['-o', 'pgid=,tpgid=', '-p', String(process.pid)], { encoding: 'latin1' });
    return (stdout ?? '').trim().split(/\s+/);
  }
}

/** Without its end; empty at the end of input. */
function readLine(input: ReadStream): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const finish = () => {
      input.removeAllListeners();
      input.pause();
      resolve(text.replace(/[\r\n][\s\S]*$/, '').trim());
    };
    input.on('data', (chunk) => {
      text += chunk.toString('latin1');
      if (/[\r\n]/.test(text) || text.length > 256) finish();
    });
    input.once('end', finish);
    input.once('error', finish);
    input.resume();
  });
}

function noTerminal(serial: string): KeyholeError {
  return new KeyholeError(
    'mfa-needed',
    `the MFA code of ${printable(serial)} is wanted, and there is no terminal to ask for it`,
    { hint: 'connect once from a terminal: the daemon then knows the credentials until they end' },
  );
}
