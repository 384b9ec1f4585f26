// Where a port session leads, as the agent finds out once, at its start (protocol.md 1.2): to a port of the node, or for
// a document with `host` to another machine that the node knows, unless the address is one that agents never forward to.
import { isIP } from 'node:net';

export type Address = { host: string; port: number };

/** What a session's worker dials; undefined in `address`: nothing answers there. */
export type Destination = { address: Address | undefined } | { refusal: string };

/** AWS's own addresses: metadata, DNS, time, KMS for Windows (observed: agent 3.3.1142.0, appconfig/constants.go). */
const forbidden = new Set([
  '169.254.169.254',
  '169.254.169.253',
  '169.254.169.123',
  '169.254.169.250',
  '169.254.169.251',
  'fd00:ec2::254',
  'fd00:ec2::253',
  'fd00:ec2::123',
  'fd00:ec2::240',
]);

export interface Surroundings {
  ports: Record<number, Address>;
  /** Other machines that the node can reach, by name or address. */
  hosts: Record<string, Record<number, Address>>;
}

export function findDestination(
  { host, portNumber }: Record<string, string>,
  { ports, hosts }: Surroundings,
): Destination {
  const port = Number(portNumber);
  if (host === undefined || /^(localhost|127\.\d+\.\d+\.\d+|::1)$/.test(host)) return { address: ports[port] };
  if (forbidden.has(host.toLowerCase())) return { refusal: `Forwarding to IP address ${host} is forbidden.` };
  const known = hosts[host.toLowerCase()];
  if (known === undefined && isIP(host) === 0) return { refusal: `lookup ${host}: no such host` };
  return { address: known?.[port] };
}
