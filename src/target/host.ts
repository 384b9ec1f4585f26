// The names by which ssh may call a target, and the two operands that follow: port and user. Pure, and
// strict, since names come from anywhere (a git URL, an editor's list): whatever is not in the grammar is
// refused before anything is started. The grammar is a contract: design.md section 6.
import { UsageError } from '../errors.ts';

export const hostGrammar =
  'i-… (8 or 17 hex digits) or mi-… (17), then optionally .REGION and .PROFILE; or NAME.ec2, NAME.REGION.PROFILE.ec2 by the Name tag';

export type Host = {
  /** As it was given; for messages. */
  name: string;
  region?: string;
  /** May differ in case from the AWS profile that is meant: ssh lower-cases what it puts in for `%h`. */
  profile?: string;
} & (
  | {
      /** `i-…`, or `mi-…` for a node registered with SSM. */
      instanceId: string;
    }
  | {
      /** Of an instance; may differ in case too. */
      nameTag: string;
    }
);

const id = /^(?:i-(?:[0-9a-f]{17}|[0-9a-f]{8})|mi-[0-9a-f]{17})$/;
/** `eu-west-1`, `us-gov-east-1`, `us-isob-east-1`, `eusc-de-east-1`; not `web-blue-1`. */
const region =
  /^(?:[a-z]{2}|eusc)(?:-(?:gov|iso[a-z]?|de))?-(?:(?:north|south)(?:east|west)?|east|west|central)-[0-9]{1,2}$/;
const profile = /^[A-Za-z0-9_][A-Za-z0-9_.@+=-]{0,127}$/;
/** Of what Name tags may hold that which is safe in ssh's configuration and a file's name; no wildcard of EC2's filters. */
const nameTag = /^[A-Za-z0-9_][A-Za-z0-9_+=-]*(?:\.[A-Za-z0-9_+=-]+)*$/;

/** Whether the configuration file may have the word as a name of its own for a host. */
export function isName(word: string): boolean {
  return word.length <= 255 && nameTag.test(word);
}

/** @throws UsageError `bad-host` */
export function parseHost(name: string): Host {
  const labels = name.split('.');
  if (labels.length > 1 && labels.at(-1)!.toLowerCase() === 'ec2') return parseNamed(name, labels.slice(0, -1));
  const instanceId = labels.shift()!;
  if (!id.test(instanceId)) throw badHost(name);
  const given = labels.length > 0 && region.test(labels[0]!) ? labels.shift() : undefined;
  return { name, instanceId, ...where(name, given, labels) };
}

/** Names may have full stops, so only a region tells where one ends; the last, since a name may have one in it. */
function parseNamed(name: string, labels: string[]): Host {
  const at = labels.findLastIndex((label, index) => index > 0 && region.test(label));
  const tag = labels.slice(0, at < 0 ? labels.length : at).join('.');
  if (!isName(tag)) throw badHost(name);
  return { name, nameTag: tag, ...where(name, at < 0 ? undefined : labels[at], at < 0 ? [] : labels.slice(at + 1)) };
}

function where(name: string, region: string | undefined, rest: string[]): Pick<Host, 'region' | 'profile'> {
  const wanted = rest.join('.');
  if (rest.length > 0 && !profile.test(wanted)) throw badHost(name);
  return { ...(region !== undefined && { region }), ...(rest.length > 0 && { profile: wanted }) };
}

function badHost(name: string): UsageError {
  return new UsageError('bad-host', `${quote(name)} is not a host that keyhole knows`, {
    hint: `a host is ${hostGrammar}`,
  });
}

/** @throws UsageError `bad-port` */
export function parsePort(text: string): number {
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65535) {
    throw new UsageError('bad-port', `${quote(text)} is not a port`, { hint: 'a port is a number from 1 to 65535' });
  }
  return port;
}

/**
 * A login name as EC2 Instance Connect takes it, without `@` (protocol.md 9.6): POSIX portable characters,
 * no hyphen first, at most 32 characters.
 *
 * @throws UsageError `bad-user`
 */
export function parseUser(text: string): string {
  if (!/^[A-Za-z0-9_][A-Za-z0-9._-]{0,30}[A-Za-z0-9$_-]?$/.test(text)) {
    throw new UsageError('bad-user', `${quote(text)} is not a login name`, {
      hint: 'a login name is at most 32 letters, digits, ".", "_" and "-", and does not begin with "-"',
    });
  }
  return text;
}

/** What was given, made safe to print: control characters escaped, and cut. */
function quote(text: string): string {
  const safe = JSON.stringify(text).replace(
    /[^\x20-\x7e]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return safe.length > 120 ? `${safe.slice(0, 116)}…"` : safe;
}
