import t from 'tap';
import type { AwsContext } from '../../src/aws/context.ts';
import { LeftSessions, tellOfKilled } from '../../src/daemon/left-sessions.ts';
import { type LedgerEntry, SessionLedger } from '../../src/daemon/session-ledger.ts';
import { KeyholeError } from '../../src/errors.ts';
import { silent } from '../../src/log.ts';

function setUp() {
  const ledger = new SessionLedger(undefined);
  const leave = (sessionId: string, context: string, surroundings?: LedgerEntry['surroundings']) =>
    ledger.start({ sessionId, target: 'i-1', region: 'r', context, ...(surroundings && { surroundings }) });
  leave('a', 'one', { env: { AWS_PROFILE: 'one' }, cwd: '/', wanted: {} });
  leave('b', 'one', { env: { AWS_PROFILE: 'one' }, cwd: '/', wanted: {} });
  leave('c', 'two', { env: { AWS_PROFILE: 'two' }, cwd: '/', wanted: {} });
  leave('d', 'secret');
  const ended: string[] = [];
  const left = new LeftSessions(ledger, silent);
  const context = (id: string, fail?: Error) =>
    ({
      id,
      ssm: {
        terminateSession: async (sessionId: string) => {
          if (fail !== undefined) throw fail;
          ended.push(`${sessionId} by ${id}`);
        },
      },
    }) as unknown as AwsContext;
  return { ledger, left, ended, context, names: () => left.list().map(({ sessionId }) => sessionId) };
}

t.test('what can be ended is ended, settings being found once for each; the rest is listed', async (t) => {
  const { ledger, left, ended, context, names } = setUp();
  const opened: string[] = [];
  t.strictSame(names(), ['a', 'b', 'c', 'd']);
  await left.endAll(async ({ env }) => {
    opened.push(env.AWS_PROFILE!);
    if (env.AWS_PROFILE === 'two') throw new KeyholeError('no-credentials', 'none');
    return context('one');
  });
  t.strictSame(opened.sort(), ['one', 'two']);
  t.strictSame(ended.sort(), ['a by one', 'b by one']);
  t.strictSame(names(), ['c', 'd']);
  t.strictSame(
    ledger.entries().map(({ sessionId }) => sessionId),
    ['c', 'd'],
  );
});

t.test('a caller whose settings were just found ends its own and nobody else’s', async (t) => {
  const { left, ended, context, names } = setUp();
  await left.endOf(context('secret'));
  t.strictSame(ended, ['d by secret']);
  await left.endOf(context('stranger'));
  t.strictSame(names(), ['a', 'b', 'c']);
});

t.test('one that has ended by itself is off the list, one that could not be ended is not', async (t) => {
  const { left, context, names } = setUp();
  await left.endOf(context('two', new KeyholeError('session-gone', 'it does not exist')));
  t.strictSame(names(), ['a', 'b', 'd']);
  await left.endOf(context('one', new KeyholeError('access-denied', 'no')));
  t.strictSame(names(), ['a', 'b', 'd']);
});

t.test('sessions of this daemon are none of them', async (t) => {
  const { ledger, names } = setUp();
  ledger.start({ sessionId: 'mine', target: 'i-1', region: 'r', context: 'one' });
  t.strictSame(names(), ['a', 'b', 'c', 'd']);
});

t.test(
  'that a process was killed is told once for each of its sessions, however many successors there are',
  async (t) => {
    const { ledger } = setUp();
    const told: string[] = [];
    const tell = () => tellOfKilled(ledger, ({ host }, { code }) => told.push(`${host} ${code}`));
    tell();
    tell();
    t.strictSame(
      told,
      Array.from({ length: 4 }, () => 'i-1 killed'),
    );
  },
);
