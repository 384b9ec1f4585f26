import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { plainHostKey } from '../../src/agent/host-key.ts';
import { Writer } from '../../src/wire/writer.ts';

t.test('a certificate is told by the key in it', async (t) => {
  if (spawnSync('ssh-keygen', ['-?']).error !== undefined) return t.comment('no ssh-keygen');
  const folder = t.testdir();
  const keygen = (...args: string[]) => execFileSync('ssh-keygen', ['-q', ...args], { cwd: folder, stdio: 'ignore' });
  const blob = (file: string) => Buffer.from(readFileSync(join(folder, file), 'utf8').split(' ')[1]!, 'base64');
  keygen('-t', 'ed25519', '-N', '', '-f', 'ca');
  for (const [type, bits] of [
    ['ed25519', '256'],
    ['ecdsa', '256'],
    ['ecdsa', '521'],
    ['rsa', '2048'],
  ] as const) {
    const name = type + bits;
    keygen('-t', type, '-b', bits, '-N', '', '-f', name);
    keygen('-s', 'ca', '-I', 'host', '-h', `${name}.pub`);
    t.strictSame(plainHostKey(blob(`${name}.pub`)), blob(`${name}.pub`), name);
    t.strictSame(plainHostKey(blob(`${name}-cert.pub`)), blob(`${name}.pub`), `${name}, certified`);
    t.equal(plainHostKey(blob(`${name}-cert.pub`).subarray(0, 70)), undefined, 'cut short');
  }
});

t.test('what nobody knows is no key', async (t) => {
  t.equal(plainHostKey(Buffer.alloc(0)), undefined);
  const unknown = new Writer().string('ssh-new-cert-v01@openssh.com').string('nonce').string('key').finish();
  t.equal(plainHostKey(unknown), undefined);
});
