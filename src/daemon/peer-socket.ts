// Whether anybody still has the other end of a unix socket. Read from the kernel's table, since the ordinary sign, end of
// file, is behind bytes that are not read while the target takes nothing; and since the process that has the socket
// need not be the one that got it (`ssh -f`, ControlPersist: ssh goes on in a child).
import { readFileSync } from 'node:fs';

/** unix(7): sockets of the reader's network namespace, by inode. Linux. */
const table = '/proc/net/unix';

export class PeerSocket {
  readonly #inode: number;

  private constructor(inode: number) {
    this.#inode = inode;
  }

  /** Undefined where it can't be seen from here, so that its absence says nothing: another namespace, another system. */
  static find(inode: number | undefined): PeerSocket | undefined {
    return inode !== undefined && isListed(inode) === true ? new PeerSocket(inode) : undefined;
  }

  /** Nobody has it any more. */
  isGone(): boolean {
    return isListed(this.#inode) === false;
  }
}

/** Undefined where the table can't be read. */
function isListed(inode: number): boolean | undefined {
  let text: string;
  try {
    text = readFileSync(table, 'latin1');
  } catch {
    return undefined;
  }
  // Num RefCount Protocol Flags Type St Inode Path
  return new RegExp(`^(?:\\S+ +){6}${inode}(?: |$)`, 'm').test(text);
}
