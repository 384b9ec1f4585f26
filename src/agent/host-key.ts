// Whether a host really signed what a client says it signed: host keys and their signatures (RFC 4253 section 6.6,
// RFC 5656, RFC 8332, RFC 8709; certificates: OpenSSH, PROTOCOL.certkeys). Pure.
import { createPublicKey, type JsonWebKey, verify } from 'node:crypto';
import { ProtocolError } from '../errors.ts';
import { Reader } from '../wire/reader.ts';
import { Writer } from '../wire/writer.ts';

/** `unknown`: a kind of key or signature that this code or this build of OpenSSL does not know. */
export type Verdict = 'good' | 'bad' | 'unknown';

const code = 'agent-host-key';

/** By signature format: the key that makes it, and the digest. SHA-1 (`ssh-rsa`) is not verified any more. */
const algorithms = new Map<string, { keyType: string; digest: string | null }>([
  ['ssh-ed25519', { keyType: 'ssh-ed25519', digest: null }],
  ['ecdsa-sha2-nistp256', { keyType: 'ecdsa-sha2-nistp256', digest: 'sha256' }],
  ['ecdsa-sha2-nistp384', { keyType: 'ecdsa-sha2-nistp384', digest: 'sha384' }],
  ['ecdsa-sha2-nistp521', { keyType: 'ecdsa-sha2-nistp521', digest: 'sha512' }],
  ['rsa-sha2-256', { keyType: 'ssh-rsa', digest: 'sha256' }],
  ['rsa-sha2-512', { keyType: 'ssh-rsa', digest: 'sha512' }],
]);

/** By key type; `length` is that of a coordinate in bytes. */
const curves = new Map<string, { name: string; crv: string; length: number }>([
  ['ecdsa-sha2-nistp256', { name: 'nistp256', crv: 'P-256', length: 32 }],
  ['ecdsa-sha2-nistp384', { name: 'nistp384', crv: 'P-384', length: 48 }],
  ['ecdsa-sha2-nistp521', { name: 'nistp521', crv: 'P-521', length: 66 }],
]);

/** Verifies the signature by a public key or host certificate in SSH's encoding. Never throws. */
export function verifyHostSignature(hostKey: Buffer, signature: Buffer, data: Buffer): Verdict {
  try {
    const { type, jwk } = parseHostKey(hostKey);
    if (jwk === undefined) return 'unknown';
    const reader = new Reader(signature, code);
    const algorithm = algorithms.get(reader.text());
    if (algorithm === undefined) return 'unknown';
    if (algorithm.keyType !== type) return 'bad';
    const blob = reader.string();
    reader.end();
    const key = createPublicKey({ key: jwk, format: 'jwk' });
    const bytes = jwk.kty === 'EC' ? joinEcdsa(blob, type) : blob;
    return verify(algorithm.digest, data, { key, dsaEncoding: 'ieee-p1363' }, bytes) ? 'good' : 'bad';
  } catch (error) {
    return error instanceof ProtocolError ? 'bad' : 'unknown';
  }
}

/** The key itself, also where it came in a certificate; undefined for what is neither or of a kind that is not known. */
export function plainHostKey(blob: Buffer): Buffer | undefined {
  try {
    const reader = new Reader(blob, code);
    const name = reader.text();
    const [, type] = /^(.*)-cert-v01@openssh\.com$/.exec(name) ?? [];
    if (type === undefined) return blob;
    const fields = type === 'ssh-ed25519' ? 1 : type === 'ssh-rsa' || curves.has(type) ? 2 : 0;
    if (fields === 0) return undefined;
    reader.string(); // nonce
    const writer = new Writer().string(type);
    for (let field = 0; field < fields; field++) writer.string(reader.string());
    return writer.finish();
  } catch {
    return undefined;
  }
}

interface HostKey {
  /** Of the plain key, also where it came in a certificate. */
  type: string;
  /** Undefined for kinds that are not known. */
  jwk: JsonWebKey | undefined;
}

function parseHostKey(blob: Buffer): HostKey {
  const reader = new Reader(blob, code);
  const name = reader.text();
  const certified = /^(.*)-cert-v01@openssh\.com$/.exec(name);
  const type = certified?.[1] ?? name;
  if (certified) reader.string(); // nonce; then the fields of the plain key, then what the authority says
  const jwk = parseFields(type, reader);
  if (jwk && !certified) reader.end();
  return { type, jwk };
}

function parseFields(type: string, reader: Reader): JsonWebKey | undefined {
  if (type === 'ssh-ed25519') {
    return { kty: 'OKP', crv: 'Ed25519', x: exactly(32, reader.string(), reader).toString('base64url') };
  }
  if (type === 'ssh-rsa') {
    const e = base64(reader.mpint(), reader);
    return { kty: 'RSA', e, n: base64(reader.mpint(), reader) };
  }
  const curve = curves.get(type);
  if (curve === undefined) return undefined;
  if (reader.text() !== curve.name) throw reader.malformed('a key whose curve is not that of its type');
  const point = exactly(1 + 2 * curve.length, reader.string(), reader);
  if (point[0] !== 4) throw reader.malformed('a compressed point');
  const [x, y] = [point.subarray(1, 1 + curve.length), point.subarray(1 + curve.length)];
  return { kty: 'EC', crv: curve.crv, x: x.toString('base64url'), y: y.toString('base64url') };
}

/** mpint r, mpint s (RFC 5656 section 3.1.2) → r and s in full length. */
function joinEcdsa(blob: Buffer, type: string): Buffer {
  const { length } = curves.get(type)!;
  const reader = new Reader(blob, code);
  const halves = [reader.mpint(), reader.mpint()].map((value) => {
    const bytes = unsigned(value, reader);
    if (bytes.length > length) throw reader.malformed('a signature longer than its key');
    return Buffer.concat([Buffer.alloc(length - bytes.length), bytes]);
  });
  reader.end();
  return Buffer.concat(halves);
}

function unsigned(value: bigint, reader: Reader): Buffer {
  if (value <= 0n) throw reader.malformed('a number that is not positive');
  const hex = value.toString(16);
  return Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex');
}

function base64(value: bigint, reader: Reader): string {
  return unsigned(value, reader).toString('base64url');
}

function exactly(length: number, bytes: Buffer, reader: Reader): Buffer {
  if (bytes.length !== length) throw reader.malformed(`a key of ${bytes.length} bytes`);
  return bytes;
}
