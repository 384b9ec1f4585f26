// Which hosts are this machine. Unencrypted websockets go nowhere else, and there only where the API that named them is
// on loopback too.
import { isIPv4 } from 'node:net';

/** @param hostname as in a URL: IPv6 in brackets */
export function isLoopback(hostname: string): boolean {
  if (hostname === 'localhost' || hostname.endsWith('.localhost') || hostname === '[::1]') return true;
  return isIPv4(hostname) && hostname.startsWith('127.');
}
