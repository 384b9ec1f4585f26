import { generateKeyPairSync } from 'node:crypto';
import ssh2 from 'ssh2';
import t from 'tap';
import { type HostKey, parseConsoleKeys, parseHostKeys } from '../../src/hostkeys/host-key.ts';
import { Writer } from '../../src/wire/writer.ts';
import { generateKeyPair } from '../region/sshd/key-pair.ts';

function line(type: 'ed25519' | 'ecdsa' | 'rsa', bits = 256): string {
  if (type === 'ed25519') return generateKeyPair().public.trim();
  return ssh2.utils.generateKeyPairSync(type as 'rsa', { bits }).public.trim();
}

const ed25519 = line('ed25519');
const good = [ed25519, line('ecdsa', 256), line('ecdsa', 384), line('ecdsa', 521), line('rsa', 2048)];
const keyOf = (text: string): HostKey => ({ type: text.split(' ')[0]!, base64: text.split(' ')[1]! });

t.test('the kinds of keys that sshd has today are read, with a comment or without', async (t) => {
  t.strictSame(parseHostKeys(good.map((text) => `${text} root@host\n`).join('')), good.map(keyOf));
  t.strictSame(parseHostKeys(good.join('\r\n')), good.map(keyOf));
  t.strictSame(parseHostKeys(`${ed25519}\n${ed25519} again\n`), [keyOf(ed25519)], 'each once');
});

t.test('what is not wholly a key is none', async (t) => {
  const [type, base64] = ed25519.split(' ') as [string, string];
  const rsa = good[4]!;
  const blobOf = (writer: Writer) => writer.finish().toString('base64');
  const wrong = [
    '',
    rsa.slice(0, 300), // as a console cuts it short
    `${type} ${base64.slice(0, -4)}`,
    `${type} ${base64}AAAA`,
    `ssh-rsa ${base64}`,
    `ecdsa-sha2-nistp256 ${keyOf(good[2]!).base64}`,
    `${type} ${blobOf(new Writer().string(type).string(Buffer.alloc(31)))}`,
    `${type} ${blobOf(new Writer().string(type).string(Buffer.alloc(32)).string('more'))}`,
    `@cert-authority * ${ed25519}`,
    `* ${ed25519}`,
    `ssh-dss ${base64}`,
    `constructor ${base64}`,
    ` ${ed25519}`,
    `[   12.3] cloud-init[99]: ${ed25519}`,
    `${type}  ${base64}`,
    `${type} ${base64.slice(0, 20)}\n${base64.slice(20)}`,
    line('rsa', 1024),
  ];
  for (const text of wrong) t.strictSame(parseHostKeys(text), [], text.slice(0, 40));
  const many = Array.from({ length: 40 }, () => {
    const { x } = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' });
    return `${type} ${blobOf(new Writer().string(type).string(Buffer.from(x!, 'base64url')))}`;
  });
  t.equal(parseHostKeys(many.join('\n')).length, 16, 'and not without end');
});

const block = (...lines: string[]) =>
  ['-----BEGIN SSH HOST KEY KEYS-----', ...lines, '-----END SSH HOST KEY KEYS-----'].join('\r\n');

t.test('of a console the last whole block counts', async (t) => {
  const [older, newer, other] = [line('ed25519'), line('ed25519'), line('ed25519')];
  const boot = `[    0.0] Linux\r\nec2: 256 SHA256:x (ED25519)\r\n${other}\r\n`;
  t.strictSame(parseConsoleKeys(`${boot}${block(`${newer} root@ip-10-0-0-1`)}\r\n[ 20.1] login: `), [keyOf(newer)]);
  t.strictSame(parseConsoleKeys(`${block(older)}\r\n${boot}${block(newer)}\r\n`), [keyOf(newer)]);
  const cut = `${block(older)}\r\n-----BEGIN SSH HOST KEY KEYS-----\r\n${newer}\r\n`;
  t.strictSame(parseConsoleKeys(cut), [keyOf(older)], 'a block that has not ended yet');
  t.strictSame(parseConsoleKeys(boot), []);
  t.strictSame(parseConsoleKeys(`${newer}\r\n-----END SSH HOST KEY KEYS-----\r\n`), [], 'the beginning is gone');
});

t.test('marks that somebody logs are none', async (t) => {
  const evil = line('ed25519');
  const logged = block(evil)
    .replaceAll('-----BEGIN', 'sshd[7]: -----BEGIN')
    .replaceAll('-----END', 'sshd[7]: -----END');
  t.strictSame(parseConsoleKeys(`${block(ed25519)}\r\n${logged}\r\n`), [keyOf(ed25519)]);
  t.strictSame(parseConsoleKeys(logged), []);
});
