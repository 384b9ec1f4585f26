// Whether anybody still has the other end of a TCP connection on this machine. A client that has shut down its writing
// side looks like one that is gone: both send FIN; but the socket of the latter belongs to nobody, and the kernel's table
// says so. Linux.
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';

/** Undefined where it can't be known: another system, a unix socket, a client on another machine. */
export function isPeerGone({ remoteAddress, remotePort, localAddress, localPort }: Socket): boolean | undefined {
  if (remoteAddress === undefined || localAddress === undefined || remoteAddress !== localAddress) return undefined;
  const address = remoteAddress.replace(mapped, '');
  const isV6 = address.includes(':');
  // Programs may use sockets of IPv6 for IPv4 (Java does): such a one is in the other table, with a mapped address.
  const inV6 = hasOwner('/proc/net/tcp6', isV6 ? address : `::ffff:${address}`, remotePort!, localPort!);
  const inV4 = isV6 ? false : hasOwner('/proc/net/tcp', address, remotePort!, localPort!);
  if (isV6 ? inV6 === undefined : inV4 === undefined) return undefined;
  return inV4 !== true && inV6 !== true;
}

const mapped = /^::ffff:(?=[\d.]+$)/;

/** Whether a process has the socket with these ends; undefined where the table can't be read. */
function hasOwner(table: string, address: string, port: number, peerPort: number): boolean | undefined {
  let text: string;
  try {
    text = readFileSync(table, 'latin1');
  } catch {
    return undefined;
  }
  // sl, local_address, rem_address, st, tx_queue:rx_queue, tr:tm->when, retrnsmt, uid, timeout, inode (proc(5))
  const ends = `${tableName(address, port)} ${tableName(address, peerPort)}`;
  const row = new RegExp(`^ *\\d+: ${ends} (?:\\S+ +){6}(\\d+)`, 'm').exec(text);
  return row !== null && row[1] !== '0';
}

/** An address as the table has it: words of 32 bits in the byte order of the machine. */
function tableName(address: string, port: number): string {
  const bytes = address.includes(':') ? bytesOfV6(address) : address.split('.').map(Number);
  let hex = '';
  for (let at = 0; at < bytes.length; at += 4) {
    hex += Buffer.from(bytes.slice(at, at + 4).reverse()).toString('hex');
  }
  return `${hex}:${port.toString(16).padStart(4, '0')}`.toUpperCase();
}

/** Node writes addresses of 16 bytes in their shortest form, IPv4 ones behind `::ffff:`. */
function bytesOfV6(address: string): number[] {
  const [head, tail] = address.replace(/%.*/, '').split('::') as [string, string?];
  const words = (text: string | undefined): number[] =>
    (text ?? '')
      .split(':')
      .filter((word) => word !== '')
      .flatMap((word) => {
        if (!word.includes('.')) return [Number.parseInt(word, 16)];
        const [a, b, c, d] = word.split('.').map(Number) as [number, number, number, number];
        return [a * 256 + b, c * 256 + d];
      });
  const [before, after] = [words(head), words(tail)];
  const zeros = tail === undefined ? [] : Array<number>(8 - before.length - after.length).fill(0);
  return [...before, ...zeros, ...after].flatMap((word) => [word >> 8, word & 255]);
}
