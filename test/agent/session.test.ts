import { generateKeyPairSync, sign } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { type EphemeralKey, Keyring } from '../../src/agent/keyring.ts';
import {
  extensionFailure,
  failure,
  type Identity,
  MessageNumber,
  parseIdentitiesAnswer,
  requestIdentities,
  serializeIdentitiesAnswer,
  sessionBindExtension,
  success,
} from '../../src/agent/message.ts';
import { AgentSession, defaultLimits, type Offer } from '../../src/agent/session.ts';
import type { Upstream } from '../../src/agent/upstream-agent.ts';
import { silent } from '../../src/log.ts';
import { Writer } from '../../src/wire/writer.ts';
import { ManualClock, turn } from '../manual-clock.ts';
import { exchanges } from './transcript.ts';

const n = MessageNumber;
const theirs: Identity = { keyBlob: Buffer.from('their key'), comment: Buffer.from('theirs') };

interface Asked {
  message: Buffer;
  timeoutMs: number | undefined;
}

/** The caller's agent: answers a list with `keys`, everything else with `answer`. */
class FakeUpstream implements Upstream {
  readonly asked: Asked[] = [];
  closed = false;
  answer: Buffer | Error = success;
  keys: Identity[] = [theirs];

  async request(message: Buffer, timeoutMs?: number): Promise<Buffer> {
    this.asked.push({ message: Buffer.from(message), timeoutMs });
    if (this.answer instanceof Error) throw this.answer;
    return message[0] === n.SSH_AGENTC_REQUEST_IDENTITIES ? serializeIdentitiesAnswer(this.keys) : this.answer;
  }

  close(): void {
    this.closed = true;
  }
}

function start(
  options: { allowUnbound?: boolean; alone?: boolean; key?: Offer['key']; accepts?: Offer['accepts'] } = {},
) {
  const clock = new ManualClock();
  const keyring = new Keyring({ clock, lifetimeMs: 3_600_000 });
  const upstream = new FakeUpstream();
  let asked = 0;
  const offer: Offer = {
    allowUnbound: options.allowUnbound ?? false,
    ...(options.accepts && { accepts: options.accepts }),
    key: (signal) => {
      asked += 1;
      return options.key ? options.key(signal) : Promise.resolve(keyring.current());
    },
  };
  const session = new AgentSession({
    keyring,
    offer,
    upstream: options.alone ? undefined : upstream,
    clock,
    log: silent,
  });
  return {
    clock,
    keyring,
    upstream,
    session,
    offersAsked: () => asked,
    list: async () => parseIdentitiesAnswer(await session.answer(requestIdentities)) ?? [],
  };
}

const host = generateKeyPairSync('ed25519');
const hostX = Buffer.from(host.publicKey.export({ format: 'jwk' }).x!, 'base64url');
const hostKey = new Writer().string('ssh-ed25519').string(hostX).finish();
const sessionId = Buffer.from('the session');

function bind(isForwarding: boolean, id: Buffer = sessionId): Buffer {
  const signature = new Writer()
    .string('ssh-ed25519')
    .string(sign(null, id, host.privateKey))
    .finish();
  const writer = new Writer().byte(n.SSH_AGENTC_EXTENSION).string(sessionBindExtension);
  return writer.string(hostKey).string(id).string(signature).boolean(isForwarding).finish();
}

function login(key: EphemeralKey, id: Buffer = sessionId, inData: Buffer = key.blob, boundHost?: Buffer): Buffer {
  const method = boundHost ? 'publickey-hostbound-v00@openssh.com' : 'publickey';
  const data = new Writer().string(id).byte(50).string('ec2-user').string('ssh-connection').string(method);
  data.boolean(true).string('ssh-ed25519').string(inData);
  if (boundHost) data.string(boundHost);
  return signRequest(key.blob, data.finish());
}

function signRequest(keyBlob: Buffer, data: Buffer): Buffer {
  return new Writer().byte(n.SSH_AGENTC_SIGN_REQUEST).string(keyBlob).string(data).uint32(0).finish();
}

const isSigned = (answer: Buffer) => answer[0] === n.SSH_AGENT_SIGN_RESPONSE;

t.test("ssh's own connection sees our key first, then the caller's in their order", async (t) => {
  const { session, upstream, keyring, list } = start();
  upstream.keys = ['c', 'a', 'b'].map((name) => ({ keyBlob: Buffer.from(name), comment: Buffer.from([0xff]) }));
  t.strictSame(await session.answer(bind(false)), success);
  const expected = [{ keyBlob: keyring.current().blob, comment: Buffer.from('keyhole') }, ...upstream.keys];
  t.strictSame(await list(), expected);
  t.ok(isSigned(await session.answer(login(keyring.current()))));
  t.strictSame(
    upstream.asked.map(({ message }) => message[0]),
    [n.SSH_AGENTC_EXTENSION, n.SSH_AGENTC_REQUEST_IDENTITIES],
    'the binding was passed on, the signature was not',
  );
});

t.test("over a forwarded connection only the caller's keys exist", async (t) => {
  const { session, keyring, list, offersAsked } = start({ allowUnbound: true });
  t.strictSame(await session.answer(bind(true)), success);
  t.strictSame(await list(), [theirs]);
  t.strictSame(await session.answer(login(keyring.current())), failure);
  t.strictSame(await session.answer(bind(false, Buffer.from('the next hop'))), success);
  t.strictSame(await list(), [theirs], 'also after the far side has bound its own login');
  t.strictSame(await session.answer(login(keyring.current(), Buffer.from('the next hop'))), failure);
  t.equal(offersAsked(), 0, 'and nobody waits for a push');
});

t.test('a connection that said nothing gets our key only where that is allowed', async (t) => {
  for (const allowUnbound of [false, true]) {
    const { session, keyring, list, offersAsked } = start({ allowUnbound });
    t.equal((await list()).length, allowUnbound ? 2 : 1);
    t.equal(isSigned(await session.answer(login(keyring.current()))), allowUnbound);
    t.equal(offersAsked(), allowUnbound ? 1 : 0);
  }
});

t.test(
  'a binding that cannot be understood or is wrong hides our key and still reaches the agent of the caller',
  async (t) => {
    const good = bind(false);
    const wrong = Buffer.from(good);
    wrong[wrong.length - 5]! ^= 1;
    for (const message of [good.subarray(0, -1), wrong, Buffer.concat([good, Buffer.alloc(1)])]) {
      const { session, upstream, list } = start({ allowUnbound: true });
      t.strictSame(await session.answer(message), extensionFailure);
      t.strictSame(await list(), [theirs]);
      t.strictSame(upstream.asked[0]!.message, message);
    }
  },
);

t.test('a binding holds though the agent of the caller does not know the message, or is gone', async (t) => {
  for (const answer of [failure, new Error('gone')]) {
    const { session, upstream, keyring } = start();
    upstream.answer = answer;
    t.strictSame(await session.answer(bind(false)), success);
    t.ok(isSigned(await session.answer(login(keyring.current()))));
  }
});

t.test('our key signs logins of the bound session and nothing else', async (t) => {
  const { session, keyring, upstream } = start();
  await session.answer(bind(false));
  const key = keyring.current();
  const sent = upstream.asked.length;
  t.ok(isSigned(await session.answer(login(key))));
  t.ok(isSigned(await session.answer(login(key, sessionId, key.blob, hostKey))));
  t.strictSame(await session.answer(login(key, sessionId, key.blob, Buffer.from('another host'))), failure);
  t.strictSame(await session.answer(login(key, Buffer.from('another session'))), failure);
  const data = new Writer().string(sessionId).byte(50).string('ec2-user').string('ssh-connection').string('publickey');
  const otherAlgorithm = data.boolean(true).string('ssh-rsa').string(key.blob).finish();
  t.strictSame(await session.answer(signRequest(key.blob, otherAlgorithm)), failure);
  t.strictSame(await session.answer(login(key, sessionId, Buffer.from('another key'))), failure);
  t.strictSame(await session.answer(signRequest(key.blob, Buffer.from('SSHSIG'))), failure);
  t.strictSame(await session.answer(signRequest(key.blob, Buffer.alloc(0))), failure);
  t.equal(upstream.asked.length, sent, 'none of which was shown to anybody');
});

t.test('our key exists only for logins to hosts that the daemon accepts', async (t) => {
  for (const accepted of [true, false]) {
    const { session, list, keyring } = start({
      accepts: (bound) => accepted && bound.verified && bound.hostKey.equals(hostKey),
    });
    await session.answer(bind(false));
    t.equal((await list()).length, accepted ? 2 : 1);
    t.equal(isSigned(await session.answer(login(keyring.current()))), accepted);
  }
});

t.test('a key that was replaced signs for those who listed it shortly before', async (t) => {
  const { session, keyring, clock, list } = start();
  await session.answer(bind(false));
  keyring.current();
  await clock.advance(3_599_000);
  const [own] = await list();
  const old = keyring.current();
  await clock.advance(30_000);
  t.not(keyring.current(), old);
  t.ok(own!.keyBlob.equals(old.blob));
  t.ok(isSigned(await session.answer(login(old))));
});

t.test('what is not about our key goes to the agent of the caller as it came, without a limit of time', async (t) => {
  const { session, upstream } = start();
  const messages = [
    signRequest(theirs.keyBlob, Buffer.from('anything')),
    ...[
      n.SSH_AGENTC_ADD_IDENTITY,
      n.SSH_AGENTC_REMOVE_ALL_IDENTITIES,
      n.SSH_AGENTC_LOCK,
      n.SSH_AGENTC_UNLOCK,
      99,
      240,
    ].map((number) => Buffer.from([number, 1, 2, 3])),
    new Writer().byte(n.SSH_AGENTC_EXTENSION).string('query').finish(),
    new Writer().byte(n.SSH_AGENTC_REMOVE_IDENTITY).string(theirs.keyBlob).finish(),
  ];
  for (const [index, message] of messages.entries()) {
    upstream.answer = Buffer.from([29, index]);
    t.strictSame(await session.answer(message), upstream.answer);
    t.strictSame(upstream.asked.at(-1), { message, timeoutMs: undefined });
  }
  upstream.answer = new Error('gone');
  t.strictSame(await session.answer(messages[0]!), failure);
});

t.test('without an agent of the caller everything but our key is refused', async (t) => {
  const { session, list, keyring } = start({ alone: true, allowUnbound: true });
  t.equal((await list()).length, 1);
  for (const number of [n.SSH_AGENTC_ADD_IDENTITY, n.SSH_AGENTC_REMOVE_ALL_IDENTITIES, n.SSH_AGENTC_LOCK, 1, 255]) {
    t.strictSame(await session.answer(Buffer.from([number, 0])), failure);
  }
  t.strictSame(await session.answer(bind(false)), success);
  t.ok(isSigned(await session.answer(login(keyring.current()))));
});

t.test('our key cannot be removed', async (t) => {
  const { session, keyring, upstream, list } = start({ allowUnbound: true });
  const remove = new Writer().byte(n.SSH_AGENTC_REMOVE_IDENTITY).string(keyring.current().blob).finish();
  t.strictSame(await session.answer(remove), failure);
  t.equal(upstream.asked.length, 0);
  t.strictSame(await session.answer(Buffer.from([n.SSH_AGENTC_REMOVE_ALL_IDENTITIES])), success);
  t.equal((await list()).length, 2);
});

t.test('listing waits until the push is confirmed, and the agent of the caller is asked meanwhile', async (t) => {
  let confirm: (key: EphemeralKey | undefined) => void = () => {};
  const { session, keyring, upstream, list } = start({
    key: () => new Promise((resolve) => (confirm = resolve)),
  });
  await session.answer(bind(false));
  let answer: Identity[] | undefined;
  const listing = list().then((keys) => {
    answer = keys;
  });
  await turn();
  t.equal(answer, undefined);
  t.equal(upstream.asked.length, 2);
  confirm(keyring.current());
  await listing;
  t.ok(answer![0]!.keyBlob.equals(keyring.current().blob));
});

t.test("a push that was refused or fails leaves the caller's keys", async (t) => {
  const refusals: Offer['key'][] = [
    async () => undefined,
    async () => {
      throw new Error('AccessDenied');
    },
    () => {
      throw new Error('at once');
    },
  ];
  for (const key of refusals) {
    const { session, list } = start({ key });
    await session.answer(bind(false));
    t.strictSame(await list(), [theirs]);
  }
});

t.test('a push that takes too long is not waited for, and hears of it', async (t) => {
  let heard = false;
  const { session, clock, list } = start({
    key: (signal) => {
      signal.addEventListener('abort', () => (heard = true));
      return new Promise(() => {});
    },
  });
  await session.answer(bind(false));
  const listing = list();
  await clock.advance(defaultLimits.offerTimeoutMs - 1);
  t.notOk(heard);
  await clock.advance(1);
  t.strictSame(await listing, [theirs]);
  t.ok(heard);
  t.equal(clock.pending, 0, 'no timer is left');
});

t.test('a client that goes away ends the waiting', async (t) => {
  let heard = false;
  const { session, clock, list, upstream } = start({
    allowUnbound: true,
    key: (signal) => {
      signal.addEventListener('abort', () => (heard = true));
      return new Promise(() => {});
    },
  });
  const listing = list();
  await turn();
  session.close();
  t.ok(heard);
  t.ok(upstream.closed);
  t.strictSame(await listing, [theirs]);
  t.equal(clock.pending, 0);
});

t.test('an agent of the caller that fails, lies or takes too long to list leaves our key alone', async (t) => {
  for (const answer of [new Error('gone'), failure]) {
    const { session, upstream, list } = start();
    await session.answer(bind(false));
    upstream.answer = answer;
    upstream.keys = [];
    t.equal((await list()).length, 1);
    t.equal(upstream.asked.at(-1)!.timeoutMs, defaultLimits.upstreamTimeoutMs);
  }
});

t.test('our key is listed once though the agent of the caller lists it, too', async (t) => {
  const { upstream, keyring, list } = start({ allowUnbound: true });
  upstream.keys = [theirs, { keyBlob: keyring.current().blob, comment: Buffer.from('a copy') }];
  t.equal((await list()).length, 2);
});

t.test('whatever a client sends, each message has one answer', async () => {
  const changed = fc
    .tuple(fc.constantFrom(...exchanges.map(({ request }) => request)), fc.nat(600), fc.nat(255))
    .map(([start, at, value]) => {
      const copy = Buffer.from(start);
      copy[at % copy.length] = value;
      return copy;
    });
  const message = fc.oneof(changed, fc.uint8Array({ minLength: 1, maxLength: 80 }).map(Buffer.from));
  await fc.assert(
    fc.asyncProperty(fc.array(message, { maxLength: 6 }), fc.boolean(), async (messages, alone) => {
      const { session } = start({ alone, allowUnbound: true });
      for (const each of messages) if ((await session.answer(each)).length < 1) return false;
      return true;
    }),
    { numRuns: 300 },
  );
});
