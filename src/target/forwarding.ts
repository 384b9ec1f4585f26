// What leads where in a local tunnel, as it is written: `[LOCAL:][RHOST:]RPORT`. Pure and strict, as host.ts.
import { isIP } from 'node:net';
import { UsageError } from '../errors.ts';
import { parsePort } from './host.ts';

export const forwardingGrammar = '[LOCAL:][RHOST:]RPORT; LOCAL is a port, ADDRESS:PORT, or the path of a unix socket';

export interface Forwarding {
  /** As it was written. */
  text: string;
  /** Where this machine listens; port 0 is any free one. */
  local: { address: string; port: number } | { path: string };
  /** Another machine, as the instance knows it; undefined: the instance itself. */
  remoteHost: string | undefined;
  remotePort: number;
}

const loopback = '127.0.0.1';

/** What AWS's document takes for a host: see protocol.md 1.2. */
const remoteHostName = /^(?=.*[A-Za-z])[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?$/;

/** @throws UsageError `bad-forwarding`, `bad-port` */
export function parseForwarding(text: string): Forwarding {
  const parts = split(text);
  const remotePort = parsePort(parts.pop() ?? '');
  // A port is where it listens; a name without a port in front of it is where the instance connects.
  const last = parts.at(-1);
  const hasRemoteHost = last !== undefined && !isLocalEnd(parts);
  const remoteHost = hasRemoteHost ? parseRemoteHost(parts.pop()!, text) : undefined;
  return { text, local: parseLocal(parts, remotePort, text), remoteHost, remotePort };
}

/** Whether the end listens on loopback, where only this machine's users reach it. */
export function isOnLoopback({ local }: Forwarding): boolean {
  return 'path' in local || local.address === '::1' || /^127\./.test(local.address);
}

/** For people: `127.0.0.1:5432`, `[::1]:5432`, or the path. */
export function showLocal(local: Forwarding['local']): string {
  if ('path' in local) return local.path;
  return local.address.includes(':') ? `[${local.address}]:${local.port}` : `${local.address}:${local.port}`;
}

/** Parts between colons; an address of IPv6 stands in brackets. */
function split(text: string): string[] {
  const parts: string[] = [];
  let rest = text;
  for (;;) {
    const [whole, bracketed, plain] = /^(?:\[([^[\]]*)\]|([^:[\]]*))(?=:|$)/.exec(rest) ?? [];
    if (whole === undefined) throw badForwarding(text);
    parts.push(bracketed ?? plain!);
    if (whole.length === rest.length) return parts;
    rest = rest.slice(whole.length + 1);
  }
}

/** Whether all the parts say where to listen. */
function isLocalEnd(parts: string[]): boolean {
  const [first, second] = parts;
  if (parts.length === 1) return isPortText(first!) || isPath(first!);
  return parts.length === 2 && isAddress(first!) && isPortText(second!);
}

function parseLocal(parts: string[], remotePort: number, text: string): Forwarding['local'] {
  const [first, second] = parts;
  if (first === undefined) return { address: loopback, port: remotePort };
  if (!isLocalEnd(parts)) throw badForwarding(text);
  if (second !== undefined) return { address: first === 'localhost' ? loopback : first, port: localPort(second) };
  return isPath(first) ? { path: first } : { address: loopback, port: localPort(first) };
}

function parseRemoteHost(host: string, text: string): string | undefined {
  // Agents may refuse to forward to themselves by another name (protocol.md 1.2).
  if (host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))) return undefined;
  if (isIP(host) === 0 && !remoteHostName.test(host)) throw badForwarding(text);
  return host;
}

function localPort(text: string): number {
  return text === '0' ? 0 : parsePort(text);
}

function isPortText(text: string): boolean {
  return /^[0-9]{1,5}$/.test(text);
}

function isPath(text: string): boolean {
  return text.startsWith('/') && !text.includes('\0');
}

function isAddress(text: string): boolean {
  return isIP(text) !== 0 || text === 'localhost';
}

function badForwarding(text: string): UsageError {
  return new UsageError('bad-forwarding', `${JSON.stringify(text.slice(0, 200))} does not say what leads where`, {
    hint: `it is ${forwardingGrammar}`,
  });
}
