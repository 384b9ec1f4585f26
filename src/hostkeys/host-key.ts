// Public host keys as they come from a node, a line each in OpenSSH's form. Pure, and strict: what is read here is what ssh
// will believe. A line that is not wholly a key, for instance one that a console cut short, is none.
import { Reader } from '../wire/reader.ts';

export interface HostKey {
  /** `ssh-ed25519`. */
  type: string;
  /** The key in SSH's encoding, in base64. */
  base64: string;
}

/** Host keys that an OpenSSH of today takes, with the fields behind their name (RFC 4253 6.6, RFC 5656 3.1, RFC 8709 4). */
const readers: Record<string, (reader: Reader) => void> = {
  'ssh-ed25519': (reader) => exactly(32, reader.string(), reader),
  'ecdsa-sha2-nistp256': (reader) => readPoint('nistp256', 65, reader),
  'ecdsa-sha2-nistp384': (reader) => readPoint('nistp384', 97, reader),
  'ecdsa-sha2-nistp521': (reader) => readPoint('nistp521', 133, reader),
  'ssh-rsa': (reader) => {
    reader.mpint();
    const bits = reader.mpint().toString(2).length;
    if (bits < 2048 || bits > 16384) throw reader.malformed(`an RSA key of ${bits} bits`);
  },
};

/** A node has one of each type, perhaps two. */
const maxKeys = 16;

/** Those lines of a text that are host keys; the others are passed over. */
export function parseHostKeys(text: string): HostKey[] {
  const keys = text.split(/[\r\n]+/).flatMap((line) => parseLine(line) ?? []);
  const different = keys.filter((key, at) => keys.findIndex((other) => other.base64 === key.base64) === at);
  return different.slice(0, maxKeys);
}

const blockBegins = '-----BEGIN SSH HOST KEY KEYS-----';
const blockEnds = '-----END SSH HOST KEY KEYS-----';

/**
 * The host keys of the last whole block that cloud-init wrote to a console (cloud-init, keys-to-console). The marks have to
 * stand alone on their lines: what others log is not taken for them.
 */
export function parseConsoleKeys(output: string): HostKey[] {
  const lines = output.split(/[\r\n]+/);
  const end = lines.lastIndexOf(blockEnds);
  const begin = end < 0 ? -1 : lines.lastIndexOf(blockBegins, end);
  return begin < 0 ? [] : parseHostKeys(lines.slice(begin + 1, end).join('\n'));
}

function parseLine(line: string): HostKey | undefined {
  const [, type, base64] = /^([a-z0-9-]{7,19}) ([A-Za-z0-9+/]{64,4096}={0,2})(?: .*)?$/.exec(line) ?? [];
  const readFields = type !== undefined && Object.hasOwn(readers, type) ? readers[type] : undefined;
  if (type === undefined || base64 === undefined || readFields === undefined) return undefined;
  const blob = Buffer.from(base64, 'base64');
  if (blob.toString('base64') !== base64) return undefined;
  try {
    const reader = new Reader(blob, 'host-key');
    if (reader.text() !== type) return undefined;
    readFields(reader);
    reader.end();
    return { type, base64 };
  } catch {
    return undefined; // its fields are not those of its type
  }
}

function readPoint(curve: string, length: number, reader: Reader): void {
  if (reader.text() !== curve) throw reader.malformed('a key whose curve is not that of its type');
  exactly(length, reader.string(), reader);
}

function exactly(length: number, bytes: Buffer, reader: Reader): void {
  if (bytes.length !== length) throw reader.malformed(`${bytes.length} bytes in place of ${length}`);
}
