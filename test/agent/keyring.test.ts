import { createPublicKey, verify } from 'node:crypto';
import t from 'tap';
import { EphemeralKey, Keyring, retiredKeyLifeMs } from '../../src/agent/keyring.ts';
import { Reader } from '../../src/wire/reader.ts';
import { ManualClock } from '../manual-clock.ts';

const hour = 3_600_000;

t.test('the public line is one that EC2 Instance Connect takes', async (t) => {
  const { publicLine } = new EphemeralKey();
  t.match(publicLine, /^ssh-ed25519 AAAA[A-Za-z0-9+/]{64} keyhole$/);
  t.equal(publicLine.split(' ').slice(0, 2).join(' ').length, 80, 'the least that AWS takes, without the comment');
});

t.test('a signature is made by the key that is listed', async (t) => {
  const key = new EphemeralKey();
  const reader = new Reader(key.blob, 'x');
  t.equal(reader.text(), 'ssh-ed25519');
  const x = reader.string().toString('base64url');
  const publicKey = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  const signature = new Reader(key.sign(Buffer.from('data')), 'x');
  t.equal(signature.text(), 'ssh-ed25519');
  const bytes = signature.string();
  signature.end();
  t.ok(verify(null, Buffer.from('data'), publicKey, bytes));
});

t.test('nothing that can be printed of a key is its private half', async (t) => {
  const key = new EphemeralKey();
  t.strictSame(Object.keys(key), ['blob']);
  t.strictSame(JSON.parse(JSON.stringify(key)), { blob: key.blob.toJSON() });
});

t.test('a key is replaced after its time and can sign for two minutes more', async (t) => {
  const clock = new ManualClock();
  const keyring = new Keyring({ clock, lifetimeMs: hour });
  const first = keyring.current();
  await clock.advance(hour - 1);
  t.equal(keyring.current(), first);
  await clock.advance(1);
  const second = keyring.current();
  t.not(second, first);
  t.notOk(second.blob.equals(first.blob));
  t.equal(keyring.find(first.blob), first);
  t.equal(keyring.find(Buffer.from(second.blob)), second);
  await clock.advance(retiredKeyLifeMs - 1);
  t.equal(keyring.find(first.blob), first);
  await clock.advance(1);
  t.equal(keyring.find(first.blob), undefined);
  t.equal(keyring.find(second.blob), second);
});

t.test('a key that nobody asked for in the meantime ends all the same', async (t) => {
  const clock = new ManualClock();
  const keyring = new Keyring({ clock, lifetimeMs: hour });
  const first = keyring.current();
  await clock.advance(hour + retiredKeyLifeMs);
  t.equal(keyring.find(first.blob), undefined);
  t.equal(clock.pending, 0, 'no timer is left');
});

t.test('two keyrings have different keys', async (t) => {
  const clock = new ManualClock();
  const [one, other] = [0, 1].map(() => new Keyring({ clock, lifetimeMs: hour }).current());
  t.notOk(one!.blob.equals(other!.blob));
});
