import t from 'tap';
import { Renewal } from '../../src/aws/renewal.ts';
import type { Credentials } from '../../src/aws/ssm-api.ts';
import { KeyholeError } from '../../src/errors.ts';
import { ManualClock } from '../manual-clock.ts';

function setUp() {
  const clock = new ManualClock();
  const files = { stamp: 'a' };
  const newer: { credentials: Credentials | undefined } = { credentials: undefined };
  const answers: (Credentials | KeyholeError)[] = [];
  let asked = 0;
  const renewal = new Renewal({
    clock,
    ask: async () => {
      asked += 1;
      const answer = answers.shift();
      if (answer instanceof KeyholeError) throw answer;
      return answer!;
    },
    newer: () => newer.credentials,
    stamp: () => files.stamp,
  });
  return { clock, files, newer, answers, renewal, asked: () => asked };
}

const loggedOut = new KeyholeError('sso-expired', 'logged out');
const key = (accessKeyId: string): Credentials => ({ accessKeyId, secretAccessKey: 'x' });

t.test('who is logged out is not asked again until a file has changed', async (t) => {
  const { clock, files, answers, renewal, asked } = setUp();
  answers.push(loggedOut, key('A'));
  for (let tries = 0; tries < 5; tries += 1) {
    await t.rejects(renewal.renew(), loggedOut);
    await clock.advance(5_000);
  }
  t.equal(asked(), 1);
  files.stamp = 'b'; // aws sso login
  t.match(await renewal.renew(), { accessKeyId: 'A' });
  t.equal(asked(), 2);
});

t.test('a source without files is asked twice a minute, also where it answers with the same', async (t) => {
  const { clock, answers, renewal, asked } = setUp();
  answers.push(loggedOut, key('A'), key('A'));
  await t.rejects(renewal.renew(), loggedOut);
  await clock.advance(29_999);
  await t.rejects(renewal.renew(), loggedOut);
  await clock.advance(1);
  await renewal.renew();
  await renewal.renew();
  t.equal(asked(), 2);
  await clock.advance(30_000);
  await renewal.renew();
  t.equal(asked(), 3);
});

t.test('many that ask at once are one', async (t) => {
  const { answers, renewal, asked } = setUp();
  answers.push(key('A'));
  await Promise.all(Array.from({ length: 20 }, () => renewal.renew()));
  t.equal(asked(), 1);
});

t.test('what a newer connection was given is taken, once', async (t) => {
  const { newer, answers, renewal, asked } = setUp();
  newer.credentials = key('NEWER');
  answers.push(key('A'));
  t.match(await renewal.renew(), { accessKeyId: 'NEWER' });
  t.match(await renewal.renew(), { accessKeyId: 'A' }, 'AWS did not take it');
  newer.credentials = key('NEWEST');
  t.match(await renewal.renew(), { accessKeyId: 'NEWEST' });
  t.equal(asked(), 1);
});
