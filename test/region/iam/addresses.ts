// IP addresses and CIDR ranges, of either family.
import { BlockList, isIP } from 'node:net';

/** Whether `text` is a range as policies have it: an address, or one with a prefix length. */
export function isRange(text: string): boolean {
  return parse(text) !== undefined;
}

/** Whether `address` lies in `range`; false for what is neither. */
export function inRange(address: string, range: string): boolean {
  const family = isIP(address);
  const parsed = parse(range);
  if (family === 0 || parsed?.family !== family) return false;
  const list = new BlockList();
  const type = family === 6 ? 'ipv6' : 'ipv4';
  list.addSubnet(parsed.base, parsed.prefix, type);
  return list.check(address, type);
}

function parse(range: string): { base: string; prefix: number; family: number } | undefined {
  const [, base = '', length] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(range) ?? [];
  const family = isIP(base);
  if (family === 0) return undefined;
  const whole = family === 6 ? 128 : 32;
  const prefix = length === undefined ? whole : Number(length);
  return prefix > whole ? undefined : { base, prefix, family };
}
