// The contexts of a daemon, whose calls the simulated region signs for: it says whose key each was signed with.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { AwsContexts } from '../../src/aws/contexts.ts';
import { serializeResolution } from '../../src/aws/resolution.ts';
import type { Clock } from '../../src/clock.ts';
import { KeyholeError } from '../../src/errors.ts';
import type { Log } from '../../src/log.ts';
import { turn } from '../manual-clock.ts';

class SettableClock implements Clock {
  ms = 0;
  now = () => this.ms;
  wallTime = () => Date.UTC(2026, 0, 1) + this.ms;
  after = () => ({ cancel() {} });
}

function answer(accessKeyId: string, more: { expiresIn?: number; asksProgram?: boolean; region?: string } = {}) {
  return serializeResolution({
    profile: 'prod',
    region: more.region ?? 'eu-west-1',
    credentials: {
      accessKeyId,
      secretAccessKey: `secret of ${accessKeyId}`,
      ...(more.expiresIn !== undefined && { expiration: new Date(Date.UTC(2026, 0, 1) + more.expiresIn) }),
    },
    credentialSource: 'prod',
    asksProgram: more.asksProgram ?? false,
    endpoints: {},
    fips: false,
    dualstack: false,
    caBundle: undefined,
    extraCa: undefined,
    proxy: { https: undefined, no: undefined },
  });
}

function setUp(t: Test) {
  const clock = new SettableClock();
  const lines: string[] = [];
  const log: Log = (level, event, fields) => lines.push(JSON.stringify([level, event, fields]));
  const opened: string[] = [];
  const refreshed: string[] = [];
  const contexts = new AwsContexts({
    clock,
    log,
    startSessionsPerSecond: 3,
    onOpened: ({ id }) => opened.push(id),
    resolve: async (caller, wanted) => {
      refreshed.push(`${caller.cwd} ${caller.env.AWS_PROFILE} ${wanted.profile}`);
      return answer('AKIAREFRESHED');
    },
  });
  t.teardown(() => contexts.close());
  const home = t.testdir({ '.aws': { config: '', credentials: '' } });
  const caller = { env: { HOME: home, AWS_PROFILE: 'prod' } as Record<string, string>, cwd: '/' };
  return { clock, lines, opened, refreshed, contexts, caller, home };
}

const never = () => Promise.reject(new Error('asked although the settings are known'));

t.test('settings are asked for once, and then known to all who have the same', async (t) => {
  const { contexts, caller, opened, lines } = setUp(t);
  const first = await contexts.open(caller, {}, async () => answer('AKIAONE'));
  t.equal((await first.credentials()).accessKeyId, 'AKIAONE');
  const env = { ...caller.env, EDITOR: 'vi' };
  t.equal(await contexts.open({ env, cwd: '/elsewhere' }, {}, never), first);
  t.strictSame(opened, [first.id]);
  t.notMatch(lines.join(''), /secret|AKIA/);
});

t.test('two callers with different credentials, in turns, each get their own', async (t) => {
  const { contexts, caller } = setUp(t);
  const callers = ['AKIAONE', 'AKIATWO'].map((key) => ({ env: { ...caller.env, AWS_ACCESS_KEY_ID: key }, cwd: '/' }));
  for (let n = 0; n < 10; n++) {
    const one = callers[n % 2]!;
    const context = await contexts.open(one, {}, async () => answer(one.env.AWS_ACCESS_KEY_ID!));
    t.equal((await context.credentials()).accessKeyId, one.env.AWS_ACCESS_KEY_ID);
  }
});

t.test('of callers that come together one is asked', async (t) => {
  const { contexts, caller } = setUp(t);
  let asked = 0;
  const ask = async () => {
    asked += 1;
    await turn();
    return answer('AKIAONE');
  };
  const all = await Promise.all(Array.from({ length: 30 }, () => contexts.open(caller, {}, ask)));
  t.equal(asked, 1);
  t.equal(new Set(all).size, 1);
});

t.test('all who wait for an answer are told that a person is asked for it, also who comes later', async (t) => {
  const { contexts, caller } = setUp(t);
  const told: string[] = [];
  const person = Promise.withResolvers<void>();
  const ask = async (onAsksPerson: () => void) => {
    await turn();
    onAsksPerson();
    await person.promise;
    return answer('AKIAONE');
  };
  const open = (who: string) => contexts.open(caller, {}, ask, () => told.push(who));
  const first = [open('asked'), open('waits')];
  await turn();
  await turn();
  t.strictSame(told, ['asked', 'waits']);
  const late = open('late');
  await turn();
  t.strictSame(told, ['asked', 'waits', 'late']);
  person.resolve();
  await Promise.all([...first, late]);
  await open('known');
  t.equal(told.length, 3, 'nobody is asked for what is known');
});

t.test('a caller that dies while it is asked leaves it to the next; so does one that answers nonsense', async (t) => {
  for (const code of ['control-closed', 'interrupted', 'deadline', 'child-failed', 'nonsense']) {
    const { contexts, caller } = setUp(t);
    const dying = contexts.open(caller, {}, async () => {
      await turn();
      if (code === 'nonsense') return {};
      throw new KeyholeError(code, 'gone');
    });
    const next = contexts.open(caller, {}, async () => answer('AKIATWO'));
    await t.rejects(dying, code);
    t.equal((await (await next).credentials()).accessKeyId, 'AKIATWO', code);
  }
});

t.test('what is wrong with the settings is told to all who wait, at once, and not kept', async (t) => {
  const { contexts, caller } = setUp(t);
  let asked = 0;
  const ask = async () => {
    asked += 1;
    await turn();
    throw new KeyholeError('sso-expired', 'log in again');
  };
  const all = await Promise.allSettled(Array.from({ length: 30 }, () => contexts.open(caller, {}, ask)));
  t.equal(asked, 1);
  t.ok(all.every((one) => one.status === 'rejected' && one.reason.code === 'sso-expired'));
  await contexts.open(caller, {}, async () => answer('AKIAONE'));
});

t.test('a change of the AWS files is noticed', async (t) => {
  const { contexts, caller, home } = setUp(t);
  const before = await contexts.open(caller, {}, async () => answer('AKIAONE'));
  writeFileSync(join(home, '.aws/credentials'), '[prod]\n');
  const after = await contexts.open(caller, {}, async () => answer('AKIATWO'));
  t.equal((await after.credentials()).accessKeyId, 'AKIATWO');
  t.equal(await contexts.open(caller, {}, never), after);
  t.equal((await before.credentials()).accessKeyId, 'AKIAONE', 'tunnels that have the former one end with it');
});

t.test('a change while the caller answers is noticed the next time', async (t) => {
  const { contexts, caller, home } = setUp(t);
  await contexts.open(caller, {}, async () => {
    writeFileSync(join(home, '.aws/credentials'), '[prod]\n');
    return answer('AKIAONE');
  });
  const next = await contexts.open(caller, {}, async () => answer('AKIATWO'));
  t.equal((await next.credentials()).accessKeyId, 'AKIATWO');
});

t.test('credentials that end within a minute are asked for again', async (t) => {
  const { clock, contexts, caller } = setUp(t);
  const first = await contexts.open(caller, {}, async () => answer('AKIAONE', { expiresIn: 3_600_000 }));
  clock.ms = 3_540_000;
  t.equal(await contexts.open(caller, {}, never), first);
  clock.ms += 1;
  t.not(await contexts.open(caller, {}, async () => answer('AKIATWO', { expiresIn: 7_200_000 })), first);
});

t.test('credentials that have ended are refreshed in the surroundings of the caller they came from', async (t) => {
  const { contexts, caller, refreshed } = setUp(t);
  const context = await contexts.open({ ...caller, cwd: '/there' }, { profile: 'named' }, async () =>
    answer('AKIAOLD', { expiresIn: -1 }),
  );
  await context.credentials();
  t.equal((await context.credentials()).accessKeyId, 'AKIAREFRESHED');
  t.strictSame(refreshed, ['/there prod named']);
});

t.test('credentials that a newer connection of the same caller brought serve the older ones too', async (t) => {
  const { clock, contexts, refreshed, caller } = setUp(t);
  const old = await contexts.open(caller, {}, async () => answer('AKIAOLD', { expiresIn: 3_600_000 }));
  clock.ms = 3_600_000;
  await contexts.open(caller, {}, async () => answer('AKIANEW', { expiresIn: 7_200_000 })); // MFA, say
  t.match(await old.credentials(), { accessKeyId: 'AKIANEW' });
  t.strictSame(refreshed, []);
});

t.test('what a program of the user said holds for callers that agree in everything', async (t) => {
  const { contexts, caller } = setUp(t);
  const program = async () => answer('AKIAONE', { asksProgram: true });
  const first = await contexts.open(caller, {}, program);
  t.equal(await contexts.open({ ...caller, env: { ...caller.env, SHLVL: '7' } }, {}, never), first);
  for (const other of [
    { ...caller, cwd: '/elsewhere' },
    { ...caller, env: { ...caller.env, VAULT_TOKEN: 'x' } },
  ]) {
    const context = await contexts.open(other, {}, async () => answer('AKIATWO', { asksProgram: true }));
    t.equal((await context.credentials()).accessKeyId, 'AKIATWO');
    t.not(context.id, first.id);
  }
  t.equal(await contexts.open(caller, {}, never), first, 'and theirs stay apart');
});

t.test('callers that differ wait for one answer, and are asked themselves if it does not hold for them', async (t) => {
  const { contexts, caller } = setUp(t);
  const opened = await Promise.all(
    ['a', 'b', 'c'].map(async (token) => {
      const env = { ...caller.env, VAULT_TOKEN: token };
      const context = await contexts.open({ env, cwd: '/' }, {}, async () => {
        await turn();
        return answer(`AKIA${token}`, { asksProgram: true });
      });
      return (await context.credentials()).accessKeyId;
    }),
  );
  t.strictSame(opened, ['AKIAa', 'AKIAb', 'AKIAc']);
});

t.test('settings that nobody used for an hour are forgotten, and so are the oldest of too many', async (t) => {
  const { clock, contexts, caller } = setUp(t);
  const open = (profile: string, ask = async () => answer('AKIAONE')) => contexts.open(caller, { profile }, ask);
  await open('p');
  clock.ms += 3_599_999;
  await open('p', never);
  clock.ms += 3_600_000;
  await t.rejects(open('p', never), /asked although/);
  for (let n = 0; n < 64; n++) {
    clock.ms += 1;
    await open(`p${n}`);
  }
  await open('p63', never);
  await t.rejects(open('p0', never), /asked although/, 'the oldest one is gone');
});
