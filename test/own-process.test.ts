import { join } from 'node:path';
import t from 'tap';
import { askOwnProcess, asksPerson } from '../src/own-process.ts';

const child = `
const [what] = process.argv.slice(2);
const say = (text) => process.stdout.write(text);
if (what === 'answer') say('{"a":1}\\n');
if (what === 'error') say('{"error":{"code":"mfa-refused","message":"no","hint":"wait","exitStatus":1}}\\n');
if (what === 'nonsense') say('SECRET');
if (what === 'person') {
  say('${asksPerson}\\n');
  process.once('SIGTERM', () => {});
  setTimeout(() => say('{"a":2}\\n'), 50);
}
if (what === 'forever') setInterval(() => {}, 1000);
`;

t.test('a process of ours is asked in the given surroundings, and answers in JSON', async (t) => {
  process.argv[1] = join(t.testdir({ 'child.mjs': child }), 'child.mjs');
  const surroundings = { env: { PATH: process.env.PATH }, cwd: '/nowhere' };
  const never = () => t.fail('nobody was asked');
  t.strictSame(await askOwnProcess(['answer'], surroundings, undefined, never), { a: 1 });
  await t.rejects(askOwnProcess(['error'], surroundings), { code: 'mfa-refused', message: 'no', hint: 'wait' });
  const failure = await askOwnProcess(['nonsense'], surroundings).catch((error: unknown) => error as Error);
  t.match(failure, { code: 'child-failed' });
  t.notMatch(JSON.stringify(failure), /SECRET/);

  let asked = 0;
  const answer = askOwnProcess(['person'], surroundings, undefined, () => {
    asked += 1;
  });
  t.strictSame(await answer, { a: 2 });
  t.equal(asked, 1, 'a person was asked before');

  const stop = new AbortController();
  const given = askOwnProcess(['forever'], surroundings, stop.signal);
  stop.abort(new Error('given up'));
  await t.rejects(given, { message: 'given up' });
});
