// The names by which ssh may call a target, and the two operands that follow: port and user. Pure, and
// strict, since names come from anywhere (a git URL, an editor's list): whatever is not in the grammar is
// refused before anything is started. The grammar is a contract: design.md section 6.
import { UsageError } from '../errors.ts';

export const hostGrammar =
  'i-… (8 or 17 hex digits) or mi-… (17), then optionally .REGION and .PROFILE; or a name with a target in config.toml';

export interface Host {
  /** As it was given; for messages. */
  name: string;
  instanceId: string;
  /** `ec2` for `i-…`, `hybrid` for a node registered with SSM, `mi-…`. */
  kind: 'ec2' | 'hybrid';
  region?: string;
  /** May differ in case from the AWS profile that is meant: ssh lower-cases what it puts in for `%h`. */
  profile?: string;
}

const id = /^(?:(i)-(?:[0-9a-f]{17}|[0-9a-f]{8})|mi-[0-9a-f]{17})$/;
/** `eu-west-1`, `us-gov-east-1`, `us-isob-east-1`, `eusc-de-east-1`. */
const region = /^[a-z]{2,5}(?:-[a-z]{2,})+-[0-9]{1,2}$/;
const profile = /^[A-Za-z0-9_][A-Za-z0-9_.@+=-]{0,127}$/;

/** Whether the configuration file may have the word as a name of its own for a host. */
export function isName(word: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9_.+=-]{0,254}$/.test(word);
}

/** @throws UsageError `bad-host` */
export function parseHost(name: string): Host {
  const labels = name.split('.');
  const instanceId = labels.shift()!;
  const match = id.exec(instanceId);
  if (!match) throw badHost(name);
  const host: Host = { name, instanceId, kind: match[1] ? 'ec2' : 'hybrid' };
  if (labels.length > 0 && region.test(labels[0]!)) host.region = labels.shift()!;
  if (labels.length > 0) {
    host.profile = labels.join('.');
    if (!profile.test(host.profile)) throw badHost(name);
  }
  return host;
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
