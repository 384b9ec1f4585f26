import t from 'tap';
import type { KeyholeError } from '../../src/errors.ts';
import { KeyholeError as Failure } from '../../src/errors.ts';
import { KeyPush, type PushRequest } from '../../src/keypush/key-push.ts';
import { silent } from '../../src/log.ts';
import { ManualClock, turn } from '../manual-clock.ts';

function setUp() {
  const clock = new ManualClock();
  const keyPush = new KeyPush(clock, silent);
  const calls: { user: string; publicKey: string; signal: AbortSignal; resolve(): void; reject(error: Error): void }[] =
    [];
  const told: string[] = [];
  const request: PushRequest = {
    target: 'context/i-1',
    user: 'ec2-user',
    publicKey: 'ssh-ed25519 A',
    failed: (error: KeyholeError) => told.push(error.code),
    pusher: {
      validMs: 60_000,
      push: (publicKey, user, signal) =>
        new Promise((resolve, reject) => {
          calls.push({ user, publicKey, signal, resolve, reject });
          signal.addEventListener('abort', () => reject(signal.reason));
        }),
    },
  };
  return { clock, keyPush, calls, told, request };
}

t.test('connections that come together share one push', async (t) => {
  const { clock, keyPush, calls, request } = setUp();
  for (let n = 0; n < 30; n++) keyPush.begin(request);
  const ready = Array.from({ length: 30 }, () => keyPush.readyToLogIn(request));
  t.equal(calls.length, 1);
  t.match(keyPush.states(), [{ state: 'pending' }]);
  calls[0]!.resolve();
  await Promise.all(ready);
  t.match(keyPush.states(), [{ target: 'context/i-1', user: 'ec2-user', state: 'pushed' }]);
  t.equal(clock.pending, 0);
});

t.test('one push serves new connections for 50 s and logins for 40 s', async (t) => {
  const { clock, keyPush, calls, request } = setUp();
  keyPush.begin(request);
  calls[0]!.resolve();
  await clock.advance(39_999);
  await keyPush.readyToLogIn(request);
  t.equal(calls.length, 1);
  await clock.advance(10_000);
  keyPush.begin(request);
  t.equal(calls.length, 1, 'a connection that begins');
  const login = keyPush.readyToLogIn(request);
  t.equal(calls.length, 2, 'a login for which less than 20 s are left');
  calls[1]!.resolve();
  await login;
  await clock.advance(50_000);
  keyPush.begin(request);
  t.equal(calls.length, 3);
});

t.test('a push whose answer took long is as old as its question', async (t) => {
  const { clock, keyPush, calls, request } = setUp();
  keyPush.begin(request);
  await clock.advance(25_000);
  calls[0]!.resolve();
  await clock.advance(15_001);
  void keyPush.readyToLogIn(request);
  t.equal(calls.length, 2);
});

t.test('another user, target or key is another push', async (t) => {
  const { keyPush, calls, request } = setUp();
  keyPush.begin(request);
  keyPush.begin({ ...request, user: 'root' });
  keyPush.begin({ ...request, target: 'context/i-2' });
  keyPush.begin({ ...request, target: 'other/i-1' });
  t.equal(calls.length, 4);
  keyPush.begin({ ...request, publicKey: 'ssh-ed25519 B' });
  t.equal(calls.at(-1)?.publicKey, 'ssh-ed25519 B', 'after the key was replaced');
  for (const { resolve } of calls) resolve();
  await turn();
  keyPush.begin({ ...request, publicKey: 'ssh-ed25519 B' });
  t.equal(calls.length, 5);
});

t.test('a refusal is shared for two seconds, told once, and then tried anew', async (t) => {
  const { clock, keyPush, calls, told, request } = setUp();
  keyPush.begin(request);
  const logins = [keyPush.readyToLogIn(request), keyPush.readyToLogIn(request)];
  calls[0]!.reject(new Failure('access-denied', 'AWS denies it'));
  for (const login of logins) await t.rejects(login, { code: 'access-denied' });
  await clock.advance(1_999);
  await t.rejects(keyPush.readyToLogIn(request), { code: 'access-denied' });
  t.equal(calls.length, 1);
  t.strictSame(told, ['access-denied']);
  t.match(keyPush.states(), [{ state: 'failed', error: { code: 'access-denied' } }]);
  await clock.advance(1);
  const again = keyPush.readyToLogIn(request);
  calls[1]!.resolve();
  await again;
  t.match(keyPush.states(), [{ state: 'pushed' }]);
  t.equal(keyPush.states()[0]?.error, undefined);
});

t.test('that the target was not there is shared with nobody who asks later', async (t) => {
  const { keyPush, calls, told, request } = setUp();
  keyPush.begin(request);
  calls[0]!.reject(new Failure('target-not-connected', 'not there'));
  await turn();
  const logins = [keyPush.readyToLogIn(request), keyPush.readyToLogIn(request)];
  t.equal(calls.length, 2);
  calls[1]!.resolve();
  await Promise.all(logins);
  t.strictSame(told, ['target-not-connected']);
});

t.test('where a second push fails, the rest of the first one still serves a login', async (t) => {
  const { clock, keyPush, calls, told, request } = setUp();
  keyPush.begin(request);
  calls[0]!.resolve();
  await clock.advance(45_000);
  const login = keyPush.readyToLogIn(request);
  calls[1]!.reject(new Failure('throttled', 'too many'));
  await login;
  t.strictSame(told, ['throttled'], 'it is told all the same');
  await clock.advance(20_000);
  const late = keyPush.readyToLogIn(request);
  calls[2]!.reject(new Failure('throttled', 'too many'));
  await t.rejects(late, { code: 'throttled' });
});

t.test('a push without end is given up', async (t) => {
  const { clock, keyPush, told, request } = setUp();
  const login = keyPush.readyToLogIn(request);
  login.catch(() => {});
  await clock.advance(30_000);
  await t.rejects(login, { code: 'push-timeout', message: /i-1 within 30 s/ });
  t.strictSame(told, ['push-timeout']);
  t.equal(clock.pending, 0);
});

t.test('what is no error of ours is one of ours afterwards', async (t) => {
  const { keyPush, calls, request } = setUp();
  const login = keyPush.readyToLogIn(request);
  calls[0]!.reject(new TypeError('x is undefined'));
  await t.rejects(login, { code: 'push-failed' });
});

t.test('close gives up what is under way, and nobody has to wait for it', async (t) => {
  const { clock, keyPush, calls, request } = setUp();
  keyPush.begin(request);
  keyPush.close();
  t.ok(calls[0]?.signal.aborted);
  await turn();
  t.equal(clock.pending, 0);
});

t.test('states are bounded, the newest is the last', async (t) => {
  const { keyPush, calls, request } = setUp();
  for (let n = 0; n < 600; n++) keyPush.begin({ ...request, target: `context/i-${n}` });
  for (const { resolve } of calls) resolve();
  await turn();
  t.equal(keyPush.states().length, 500);
  t.equal(keyPush.states().at(-1)?.target, 'context/i-599');
});
