// The lines of a known_hosts file (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"). Pure. ssh takes any key that some line gives a
// host, so where AWS vouches for a host's keys, no other line may speak for the same name; everything else is the user's.
import { createHmac } from 'node:crypto';
import type { HostKey } from './host-key.ts';

/** What ssh looks for: the host as it was typed, in lower case, and the port unless it is 22 (misc.c, put_host_port). */
export function knownHostsName(host: string, port: number): string {
  return port === 22 ? host.toLowerCase() : `[${host.toLowerCase()}]:${port}`;
}

/** One line for each key. */
export function knownHostsLines(name: string, keys: readonly HostKey[], instanceId: string): string {
  return keys.map(({ type, base64 }) => `${name} ${type} ${base64} keyhole:${instanceId}\n`).join('');
}

/** The text with `lines` as the only ones for `name`, where the first of them was, else at the end. */
export function replaceName(text: string, name: string, lines: string): string {
  const before = text.replace(/\n?$/, '\n').split(/(?<=\n)/);
  const at = before.findIndex((line) => withoutName(line, name) === undefined);
  const after = before.map((line) => withoutName(line, name) ?? '').filter((line) => line !== '\n' || text !== '');
  after.splice(at < 0 ? after.length : at, 0, lines);
  return after.join('');
}

/** The line without the name, or undefined if it was the only one. Marked lines (`@revoked`) and comments stay. */
function withoutName(line: string, name: string): string | undefined {
  const [, names, rest] = /^([^#@\s]\S*)(\s.*)$/s.exec(line) ?? [];
  if (names === undefined) return line;
  if (names.startsWith('|')) return isHashOf(names, name) ? undefined : line;
  const all = names.split(',');
  const others = all.filter((other) => other.toLowerCase() !== name);
  if (others.length === all.length) return line;
  return others.length === 0 ? undefined : others.join(',') + rest;
}

/** `|1|SALT|HASH`: how ssh writes names under HashKnownHosts, Debian's default (hostfile.c, host_hash: HMAC-SHA1). */
function isHashOf(hashed: string, name: string): boolean {
  const [, salt, hash] = /^\|1\|([A-Za-z0-9+/=]+)\|([A-Za-z0-9+/=]+)$/.exec(hashed) ?? [];
  if (salt === undefined) return false;
  return createHmac('sha1', Buffer.from(salt, 'base64')).update(name).digest('base64') === hash;
}
