// A CA and one server certificate for loopback, made in memory when a region starts with TLS (RFC 5280). Subject and
// authority key identifiers are there because strict verifiers (Python 3.13, Go) ask for them.
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import {
  bitString,
  boolean,
  context,
  integer,
  objectIdentifier,
  octetString,
  sequence,
  set,
  time,
  utf8String,
} from './der.ts';

export interface ServerCertificate {
  /** PEM of the CA, what clients have to trust. */
  ca: string;
  /** PEM of the server's certificate and its key. */
  cert: string;
  key: string;
}

interface Subject {
  name: string;
  publicKey: KeyObject;
}

const dayMs = 24 * 60 * 60_000;

const oid = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  commonName: '2.5.4.3',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
};

/** Valid for localhost, 127.0.0.1, ::1 and `dnsNames`, from a day before `now` for thirty days. */
export function createServerCertificate(now: number, dnsNames: string[] = []): ServerCertificate {
  const caKeys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const serverKeys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const ca: Subject = { name: 'Simulated AWS region CA', publicKey: caKeys.publicKey };
  const server: Subject = { name: 'localhost', publicKey: serverKeys.publicKey };
  const names = ['localhost', ...dnsNames].map((name) => context(2, Buffer.from(name), false));
  const addresses = [Buffer.of(127, 0, 0, 1), Buffer.concat([Buffer.alloc(15), Buffer.of(1)])];
  const caExtensions = [
    extension(oid.basicConstraints, sequence(boolean(true)), true),
    extension(oid.keyUsage, bitString(Buffer.of(0b0000_0110), 1), true), // keyCertSign, cRLSign
    extension(oid.subjectKeyIdentifier, octetString(keyIdentifier(ca))),
  ];
  const serverExtensions = [
    extension(oid.basicConstraints, sequence(), true),
    extension(oid.keyUsage, bitString(Buffer.of(0b1000_0000), 7), true), // digitalSignature
    extension(oid.extKeyUsage, sequence(objectIdentifier(oid.serverAuth))),
    extension(oid.subjectAltName, sequence(...names, ...addresses.map((address) => context(7, address, false)))),
    extension(oid.subjectKeyIdentifier, octetString(keyIdentifier(server))),
    extension(oid.authorityKeyIdentifier, sequence(context(0, keyIdentifier(ca), false))),
  ];
  return {
    ca: certificate(ca, ca, caKeys.privateKey, caExtensions, now),
    cert: certificate(server, ca, caKeys.privateKey, serverExtensions, now),
    key: serverKeys.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  };
}

function certificate(subject: Subject, issuer: Subject, key: KeyObject, extensions: Buffer[], now: number): string {
  const algorithm = sequence(objectIdentifier(oid.ecdsaWithSha256));
  const body = sequence(
    context(0, integer(Buffer.of(2)), true), // version 3
    integer(Buffer.concat([Buffer.of(1), randomBytes(15)])),
    algorithm,
    distinguishedName(issuer.name),
    sequence(time(new Date(now - dayMs)), time(new Date(now + 30 * dayMs))),
    distinguishedName(subject.name),
    publicKeyInfo(subject),
    context(3, sequence(...extensions), true),
  );
  const whole = sequence(body, algorithm, bitString(sign('sha256', body, key)));
  const lines = whole.toString('base64').replace(/.{64}/g, '$&\n').trimEnd();
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}

function extension(id: string, value: Buffer, critical = false): Buffer {
  return sequence(objectIdentifier(id), ...(critical ? [boolean(true)] : []), octetString(value));
}

function distinguishedName(commonName: string): Buffer {
  return sequence(set(sequence(objectIdentifier(oid.commonName), utf8String(commonName))));
}

function publicKeyInfo({ publicKey }: Subject): Buffer {
  return publicKey.export({ type: 'spki', format: 'der' });
}

function keyIdentifier(subject: Subject): Buffer {
  return createHash('sha1').update(publicKeyInfo(subject)).digest();
}
