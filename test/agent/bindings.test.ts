import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { Bindings, maxBindings } from '../../src/agent/bindings.ts';
import { verifyHostSignature } from '../../src/agent/host-key.ts';
import { MessageNumber, parseRequest, type SessionBind } from '../../src/agent/message.ts';
import { parseUserauthRequest } from '../../src/agent/userauth.ts';
import { Reader } from '../../src/wire/reader.ts';
import { Writer } from '../../src/wire/writer.ts';
import { recorded } from './transcript.ts';

const binds = recorded(MessageNumber.SSH_AGENTC_EXTENSION).map(({ request, what }) => {
  const parsed = parseRequest(request);
  if (parsed.type !== 'session-bind') throw new Error('not a binding');
  return { what, bind: parsed.bind };
});

/** A host with an Ed25519 key that signs any session. */
function makeHost() {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const x = Buffer.from(publicKey.export({ format: 'jwk' }).x!, 'base64url');
  const hostKey = new Writer().string('ssh-ed25519').string(x).finish();
  return (session: string, isForwarding = false): SessionBind => {
    const sessionId = createHash('sha256').update(session).digest();
    const signature = new Writer()
      .string('ssh-ed25519')
      .string(sign(null, sessionId, privateKey))
      .finish();
    return { hostKey, sessionId, signature, isForwarding };
  };
}

t.test('the signatures of real host keys and certificates of all kinds are verified', async (t) => {
  const types = binds.map(({ bind }) => new Reader(bind.hostKey, 'x').text());
  t.strictSame([...new Set(types)].sort(), [
    'ecdsa-sha2-nistp256',
    'ecdsa-sha2-nistp256-cert-v01@openssh.com',
    'ecdsa-sha2-nistp384',
    'ecdsa-sha2-nistp521',
    'ssh-ed25519',
    'ssh-ed25519-cert-v01@openssh.com',
    'ssh-rsa',
    'ssh-rsa-cert-v01@openssh.com',
  ]);
  for (const { what, bind } of binds) {
    t.equal(verifyHostSignature(bind.hostKey, bind.signature, bind.sessionId), 'good', what);
    const other = Buffer.from(bind.sessionId);
    other[3]! ^= 1;
    t.equal(verifyHostSignature(bind.hostKey, bind.signature, other), 'bad', `${what}, another session`);
    const broken = Buffer.from(bind.signature);
    broken[broken.length - 1]! ^= 1;
    t.equal(verifyHostSignature(bind.hostKey, broken, bind.sessionId), 'bad', `${what}, a changed signature`);
  }
});

t.test('kinds of keys and signatures that are not known are told from wrong ones', async (t) => {
  const data = Buffer.from('session');
  const key = (type: string) => new Writer().string(type).string('whatever').finish();
  t.equal(verifyHostSignature(key('ssh-mldsa44@openssh.com'), key('ssh-mldsa44@openssh.com'), data), 'unknown');
  t.equal(verifyHostSignature(key('constructor'), key('constructor'), data), 'unknown');
  t.equal(verifyHostSignature(key('ssh-ed25519'), key('ssh-ed25519'), data), 'bad', 'a key of eight bytes');
  const { hostKey, sessionId } = makeHost()('s');
  t.equal(verifyHostSignature(hostKey, key('ssh-rsa'), sessionId), 'unknown', 'SHA-1');
  t.equal(verifyHostSignature(hostKey, key('rsa-sha2-256'), sessionId), 'bad', 'a signature of another kind of key');
});

t.test('a mixed-up host key or signature never throws', async () => {
  const { hostKey, signature, sessionId } = binds.find(({ what }) => what.includes('ecdsa256'))!.bind;
  fc.assert(
    fc.property(fc.nat(200), fc.nat(255), fc.nat(120), fc.nat(255), (keyAt, keyByte, at, byte) => {
      const [key, changed] = [Buffer.from(hostKey), Buffer.from(signature)];
      key[keyAt % key.length] = keyByte;
      changed[at % changed.length] = byte;
      return ['good', 'bad', 'unknown'].includes(verifyHostSignature(key, changed, sessionId));
    }),
  );
});

t.test('a connection is unbound, then a login, and nobody can take it over after that', async (t) => {
  const host = makeHost();
  const bindings = new Bindings();
  t.equal(bindings.state, 'unbound');
  t.ok(bindings.add(host('one')));
  t.equal(bindings.state, 'login');
  t.match(bindings.login, { sessionId: host('one').sessionId, verified: true });
  t.notOk(bindings.add(host('two')));
  t.equal(bindings.state, 'forwarded');
  t.equal(bindings.login, undefined);
});

t.test('a forwarded connection stays forwarded, whatever the far side says', async (t) => {
  const host = makeHost();
  const bindings = new Bindings();
  t.ok(bindings.add(host('one', true)));
  t.equal(bindings.state, 'forwarded');
  t.ok(bindings.add(host('one', false)), 'the same session again');
  t.equal(bindings.state, 'forwarded');
  t.ok(bindings.add(makeHost()('two', false)), 'the login of the far side');
  t.equal(bindings.state, 'forwarded');
});

t.test('a binding that is wrong leaves a connection of which nothing is known', async (t) => {
  const host = makeHost();
  const wrong: [string, Partial<SessionBind>][] = [
    ['a signature of another session', { signature: host('other').signature }],
    ['an empty session', { sessionId: Buffer.alloc(0) }],
    ['a session that is too long', { sessionId: Buffer.alloc(129) }],
  ];
  for (const [what, change] of wrong) {
    const bindings = new Bindings();
    t.notOk(bindings.add({ ...host('one'), ...change }), what);
    t.equal(bindings.state, 'forwarded', what);
    t.ok(bindings.add(host('one')));
    t.equal(bindings.state, 'forwarded', `${what}, for good`);
  }
  const stolen = new Bindings();
  stolen.add(host('one', true));
  t.notOk(stolen.add(makeHost()('one', true)), 'a session with the key of another host');
});

t.test('the number of bindings is bounded', async (t) => {
  const host = makeHost();
  const bindings = new Bindings();
  for (let hop = 0; hop < maxBindings; hop += 1) t.ok(bindings.add(host(`hop ${hop}`, true)));
  t.notOk(bindings.add(host('one more', true)));
});

t.test('a host key of a kind that cannot be verified binds all the same', async (t) => {
  const hostKey = new Writer().string('ssh-mldsa44@openssh.com').string('key').finish();
  const bindings = new Bindings();
  t.ok(bindings.add({ ...makeHost()('one'), hostKey }));
  t.match(bindings.login, { hostKey, verified: false });
});

t.test('what ssh wants signed is a login request of the session that it bound', async (t) => {
  const signs = recorded(MessageNumber.SSH_AGENTC_SIGN_REQUEST, 'ssh, ');
  for (const { request, what } of signs) {
    const parsed = parseRequest(request);
    if (parsed.type !== 'sign') throw new Error('not a signature');
    const login = parseUserauthRequest(parsed.data);
    t.ok(login.keyBlob.equals(parsed.keyBlob), what);
    const { bind } = binds.find((each) => each.what === what)!;
    t.ok(login.sessionId.equals(bind.sessionId), what);
    t.ok(login.hostKey?.equals(bind.hostKey), what);
  }
  t.ok(signs.length > 5);
});

t.test('other data than a login request is not one', async (t) => {
  const [file] = recorded(MessageNumber.SSH_AGENTC_SIGN_REQUEST, 'ssh-keygen -Y sign');
  const parsed = parseRequest(file!.request);
  if (parsed.type !== 'sign') throw new Error('not a signature');
  const refused = { name: 'ProtocolError', code: 'agent-sign-data' };
  t.throws(() => parseUserauthRequest(parsed.data), refused, 'ssh-keygen -Y sign');
  const login = ({ session = 'id', number = 50, service = 'ssh-connection', method = 'publickey', signed = true }) =>
    new Writer().string(session).byte(number).string('user').string(service).string(method).boolean(signed);
  const whole = (writer: Writer) => writer.string('ssh-ed25519').string('key').finish();
  t.match(parseUserauthRequest(whole(login({}))), { user: 'user', hostKey: undefined });
  const wrong = [
    { session: '' },
    { number: 51 },
    { service: 'ssh-userauth' },
    { method: 'hostbased' },
    { signed: false },
  ];
  for (const change of wrong)
    t.throws(() => parseUserauthRequest(whole(login(change))), refused, JSON.stringify(change));
  t.throws(
    () => parseUserauthRequest(Buffer.concat([whole(login({})), Buffer.from('x')])),
    refused,
    'something behind it',
  );
});
