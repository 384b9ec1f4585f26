// The service's side of AWS Signature Version 4: recomputes the signature of what arrived, byte for byte, from
// the header form and from the presigned query form. Written from AWS's description ("Signature Version 4 for
// API requests") and shares no code with the SDK's signer or with src/. The upgrade's rules: protocol.md 2.2.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { ServiceError } from './errors.ts';

export interface SignedRequest {
  method: string;
  /** Path and query exactly as on the request line. */
  target: string;
  /** Names and values in turn, as Node's `rawHeaders`. */
  rawHeaders: string[];
  body: Buffer;
}

export interface SigningKey {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string | undefined;
  /** Milliseconds since 1970; undefined for a key that lasts. */
  expiresAt?: number | undefined;
}

export interface Verification<Key extends SigningKey> {
  findKey(accessKeyId: string): Key | undefined;
  region: string;
  service: string;
  /** The service's clock, milliseconds since 1970. */
  now: number;
}

interface Signature {
  accessKeyId: string;
  scope: string;
  date: string;
  /** How long after `date` it holds, ms. */
  lifetimeMs: number;
  signedHeaders: string[];
  signature: string;
  sessionToken: string | undefined;
  presigned: boolean;
}

const algorithm = 'AWS4-HMAC-SHA256';
const headerLifetimeMs = 5 * 60_000;
const maxExpiresSeconds = 7 * 24 * 3600;

/** Whether the request carries a signature of either form. */
export function isSigned(request: SignedRequest): boolean {
  return readHeader(request, 'authorization') !== undefined || parseQuery(request.target).some(isPresignature);
}

/** The service that a signed request names in its credential scope; undefined where it is unsigned or malformed. */
export function scopedService(request: SignedRequest): string | undefined {
  const authorization = readHeader(request, 'authorization') ?? '';
  return /Credential=[^/,\s]+\/\d{8}\/[^/,\s]+\/([^/,\s]+)\/aws4_request/.exec(authorization)?.[1];
}

/**
 * The key that signed the request. Throws the ServiceError with which AWS's JSON services answer otherwise; the order
 * of the checks is AWS's as far as seen: form, scope, age, key, token, signature, expiry of the token.
 */
export function verifySignature<Key extends SigningKey>(request: SignedRequest, given: Verification<Key>): Key {
  const signature = readSignature(request);
  checkScope(signature, given);
  checkAge(signature, given.now);
  checkSignedHeaders(request, signature);
  const key = given.findKey(signature.accessKeyId);
  if (key === undefined || key.sessionToken !== signature.sessionToken) {
    throw new ServiceError('UnrecognizedClientException', 'The security token included in the request is invalid.');
  }
  const expected = hmac(signingKey(key.secretAccessKey, signature.scope), stringToSign(request, signature));
  if (!equal(expected.toString('hex'), signature.signature)) {
    throw new ServiceError(
      'InvalidSignatureException',
      'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.',
    );
  }
  if (key.expiresAt !== undefined && given.now >= key.expiresAt) {
    throw new ServiceError('ExpiredTokenException', 'The security token included in the request is expired');
  }
  return key;
}

/** The canonical request, for tests against AWS's published ones. */
export function canonicalRequest(request: SignedRequest, signedHeaders: string[]): string {
  const path = request.target.split('?', 1)[0] ?? '/';
  return [
    request.method,
    canonicalPath(path),
    canonicalQuery(request.target),
    ...signedHeaders.map((name) => `${name}:${readHeader(request, name) ?? ''}`),
    '',
    signedHeaders.join(';'),
    readHeader(request, 'x-amz-content-sha256') ?? sha256(request.body),
  ].join('\n');
}

function readSignature(request: SignedRequest): Signature {
  const authorization = readHeader(request, 'authorization');
  const query = parseQuery(request.target);
  if (authorization === undefined) {
    if (!query.some(isPresignature)) {
      throw new ServiceError('MissingAuthenticationTokenException', 'Missing Authentication Token');
    }
    return readPresigned(new Map(query));
  }
  if (!authorization.startsWith(`${algorithm} `))
    throw incomplete(`Unsupported algorithm: '${authorization.split(' ', 1)[0]}'`);
  const fields = new Map(
    authorization
      .slice(algorithm.length)
      .split(',')
      .map((field) => split(field.trim(), '=')),
  );
  for (const name of ['Credential', 'Signature', 'SignedHeaders']) {
    if (!fields.get(name)) throw incomplete(`Authorization header requires '${name}' parameter.`);
  }
  const date = readHeader(request, 'x-amz-date');
  if (date === undefined)
    throw incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.");
  return {
    ...splitCredential(fields.get('Credential')!),
    date,
    lifetimeMs: headerLifetimeMs,
    signedHeaders: fields.get('SignedHeaders')!.split(';'),
    signature: fields.get('Signature')!,
    sessionToken: readHeader(request, 'x-amz-security-token'),
    presigned: false,
  };
}

function readPresigned(query: Map<string, string>): Signature {
  for (const name of ['Algorithm', 'Credential', 'Date', 'SignedHeaders', 'Signature']) {
    if (!query.get(`X-Amz-${name}`)) throw incomplete(`AWS query-string parameters must include 'X-Amz-${name}'.`);
  }
  if (query.get('X-Amz-Algorithm') !== algorithm) throw incomplete("Unsupported 'X-Amz-Algorithm'.");
  const expires = query.get('X-Amz-Expires');
  if (expires !== undefined && !(/^\d{1,6}$/.test(expires) && Number(expires) <= maxExpiresSeconds)) {
    throw incomplete('X-Amz-Expires must be a number of seconds, at most 604800');
  }
  return {
    ...splitCredential(query.get('X-Amz-Credential')!),
    date: query.get('X-Amz-Date')!,
    // Not mandatory (protocol.md 9.2); without it the window of a header signature applies.
    lifetimeMs: expires === undefined ? headerLifetimeMs : Number(expires) * 1000,
    signedHeaders: query.get('X-Amz-SignedHeaders')!.split(';'),
    signature: query.get('X-Amz-Signature')!,
    sessionToken: query.get('X-Amz-Security-Token'),
    presigned: true,
  };
}

function checkScope(signature: Signature, given: Verification<SigningKey>): void {
  const [date, region, service, terminator] = signature.scope.split('/');
  let complaint: string | undefined;
  if (region !== given.region) complaint = 'Credential should be scoped to a valid region.';
  else if (service !== given.service) complaint = `Credential should be scoped to correct service: '${given.service}'.`;
  else if (terminator !== 'aws4_request')
    complaint = "Credential should be scoped with a valid terminator: 'aws4_request'.";
  else if (date !== signature.date.slice(0, 8))
    complaint = 'Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.';
  if (complaint !== undefined) throw new ServiceError('InvalidSignatureException', complaint);
}

function checkAge(signature: Signature, now: number): void {
  const parts = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(signature.date);
  if (parts === null) throw incomplete(`Date must be in ISO-8601 'basic format'. Got '${signature.date}'.`);
  const [year, month, day, hour, minute, second] = parts.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const signedAt = Date.UTC(year, month - 1, day, hour, minute, second);
  const minutes = headerLifetimeMs / 60_000;
  if (signedAt + signature.lifetimeMs < now) {
    const limit = now - signature.lifetimeMs;
    throw new ServiceError(
      'InvalidSignatureException',
      `Signature expired: ${signature.date} is now earlier than ${basicDate(limit)} (${basicDate(now)} - ${signature.lifetimeMs / 60_000} min.)`,
    );
  }
  if (signedAt > now + headerLifetimeMs) {
    throw new ServiceError(
      'InvalidSignatureException',
      `Signature not yet current: ${signature.date} is still later than ${basicDate(now + headerLifetimeMs)} (${basicDate(now)} + ${minutes} min.)`,
    );
  }
}

function checkSignedHeaders(request: SignedRequest, { signedHeaders, presigned }: Signature): void {
  if (!signedHeaders.includes('host')) {
    throw new ServiceError(
      'InvalidSignatureException',
      "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
    );
  }
  if (presigned) return;
  const unsigned = request.rawHeaders
    .filter((_, at) => at % 2 === 0)
    .map((name) => name.toLowerCase())
    .filter((name) => name.startsWith('x-amz-') && !signedHeaders.includes(name));
  if (unsigned.length > 0) {
    throw new ServiceError(
      'InvalidSignatureException',
      `There were headers present in the request which were not signed: ${unsigned.join(', ')}`,
    );
  }
  const claimed = readHeader(request, 'x-amz-content-sha256');
  if (claimed !== undefined && claimed !== sha256(request.body)) {
    throw new ServiceError(
      'InvalidSignatureException',
      "The value of 'x-amz-content-sha256' does not match the SHA-256 of the payload.",
    );
  }
}

function stringToSign(request: SignedRequest, { date, scope, signedHeaders }: Signature): string {
  return [algorithm, date, scope, sha256(Buffer.from(canonicalRequest(request, signedHeaders)))].join('\n');
}

function signingKey(secretAccessKey: string, scope: string): Buffer {
  return scope.split('/').reduce<Buffer>((key, part) => hmac(key, part), Buffer.from(`AWS4${secretAccessKey}`));
}

/** Every segment encoded once more than it is on the wire (all services but S3). */
function canonicalPath(path: string): string {
  return path.split('/').map(encode).join('/');
}

/** Decoded, encoded again, sorted. A raw `+` decodes as a space, as Go reads it (protocol.md 2.2, point 4). */
function canonicalQuery(target: string): string {
  return parseQuery(target)
    .filter(([name]) => name !== 'X-Amz-Signature')
    .map(([name, value]): [string, string] => [encode(name), encode(value)])
    .sort(([a, x], [b, y]) => compare(a, b) || compare(x, y))
    .map((pair) => pair.join('='))
    .join('&');
}

function parseQuery(target: string): [string, string][] {
  const mark = target.indexOf('?');
  if (mark < 0 || mark === target.length - 1) return [];
  return target
    .slice(mark + 1)
    .split('&')
    .map((pair) => split(pair, '=').map(decode) as [string, string]);
}

function isPresignature([name]: [string, string]): boolean {
  return /^X-Amz-(Algorithm|Credential|Date|Expires|SignedHeaders|Signature|Security-Token)$/.test(name);
}

function splitCredential(credential: string): { accessKeyId: string; scope: string } {
  const [accessKeyId, scope] = split(credential, '/');
  if (scope.split('/').length !== 4) {
    throw incomplete(
      `Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '${credential}'`,
    );
  }
  return { accessKeyId, scope };
}

/** The header's value as it is signed: repeated ones joined, runs of blanks made one. */
function readHeader(request: SignedRequest, name: string): string | undefined {
  const values: string[] = [];
  for (let at = 0; at + 1 < request.rawHeaders.length; at += 2) {
    if (request.rawHeaders[at]!.toLowerCase() === name)
      values.push(request.rawHeaders[at + 1]!.trim().replace(/ +/g, ' '));
  }
  return values.length === 0 ? undefined : values.join(',');
}

function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

function decode(text: string): string {
  const spaced = text.replaceAll('+', ' ');
  try {
    return decodeURIComponent(spaced);
  } catch {
    return spaced;
  }
}

function split(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + separator.length)];
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function equal(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}

function incomplete(message: string): ServiceError {
  return new ServiceError('IncompleteSignatureException', message);
}

function basicDate(time: number): string {
  return new Date(time).toISOString().replace(/[-:]|\.\d+/g, '');
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
