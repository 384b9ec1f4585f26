import t from 'tap';
import type { NamedInstance } from '../../src/aws/ec2.ts';
import type { KeyholeError } from '../../src/errors.ts';
import { InstanceNames } from '../../src/target/names.ts';
import { ManualClock } from '../manual-clock.ts';

const never = new AbortController().signal;

function named(id: string, name: string, about: Partial<NamedInstance> = {}): NamedInstance {
  return { id, name, state: 'running', zone: 'eu-west-1a', launchedAt: '2026-01-02T03:04:05.000Z', ...about };
}

/** An account with these instances. EC2's filters know case. */
function account(instances: NamedInstance[], id = 'caller') {
  const asked: (string | undefined)[] = [];
  const aws = {
    id,
    region: 'eu-west-1',
    ec2: {
      async describeNamedInstances(nameTag: string | undefined, states: string[]) {
        asked.push(nameTag);
        return instances.filter(
          ({ name, state }) => (nameTag === undefined || name === nameTag) && states.includes(state),
        );
      },
    },
  };
  return { asked, aws };
}

/** The answer, or `CODE MESSAGE (HINT)`. */
async function lookUp(instances: NamedInstance[], nameTag: string, stoppedToo = false): Promise<string> {
  const names = new InstanceNames(new ManualClock());
  return await names.find({ nameTag, stoppedToo, aws: account(instances).aws }, never).catch((error: KeyholeError) => {
    return `${error.code} ${error.message} (${error.hint})`;
  });
}

t.test('the only instance with the name is meant', async (t) => {
  const web = [named('i-1', 'web-1'), named('i-2', 'web-2')];
  t.equal(await lookUp(web, 'web-2'), 'i-2');
  t.equal(await lookUp([named('i-1', 'Web-1')], 'web-1'), 'i-1', 'ssh has lower-cased it');
  t.equal(
    await lookUp([named('i-1', 'Web-1'), named('i-2', 'web-1')], 'web-1'),
    'i-2',
    'the case decides where it can',
  );
  t.equal(await lookUp([named('i-1', 'w'), named('i-2', 'w', { state: 'stopped' })], 'w'), 'i-1');
  t.equal(await lookUp([named('i-1', 'w'), named('i-2', 'w', { state: 'stopped' })], 'w', true), 'i-1');
  t.equal(await lookUp([named('i-1', 'w', { state: 'pending' })], 'w'), 'i-1', 'one that starts will run');
  t.equal(await lookUp([named('i-1', 'W', { state: 'stopped' })], 'w', true), 'i-1', 'one that is going to be started');
});

t.test('of several, none is taken, and all are listed', async (t) => {
  const twins = [
    named('i-1', 'web'),
    named('i-2', 'web', { zone: 'eu-west-1b', state: 'pending', launchedAt: undefined }),
  ];
  t.equal(
    await lookUp(twins, 'web'),
    'name-ambiguous 2 instances in eu-west-1 have the name web: i-1 (eu-west-1a, running, launched 2026-01-02T03:04:05Z); ' +
      'i-2 (eu-west-1b, pending) (name one by its id, such as i-1.eu-west-1)',
  );
  const many = Array.from({ length: 30 }, (_, at) => named(`i-${at}`, 'web'));
  t.match(await lookUp(many, 'web'), /^name-ambiguous 30 instances .*; i-7 \([^)]*\); and 22 more /);
  t.match(await lookUp([named('i-1', 'WEB'), named('i-2', 'Web')], 'web'), /^name-ambiguous 2 instances/);
});

t.test('of none, the near misses are told', async (t) => {
  const others = ['web-1', 'web-2', 'web-3', 'web-4', 'database'].map((name, at) => named(`i-${at}`, name));
  t.equal(
    await lookUp(others, 'wev-1'),
    'name-unknown no running instance in eu-west-1 has the name wev-1 (did you mean web-1.ec2?)',
  );
  t.match(await lookUp(others, 'web-12'), /\(did you mean web-1\.ec2, web-2\.ec2, web-3\.ec2\?\)$/);
  t.match(await lookUp(others, 'xyzzy'), /^name-unknown .*\(are region and account the right ones\?/);
  t.match(await lookUp([named('i-1', 'web', { state: 'stopped' })], 'web'), /\(i-1 has it and is stopped/);
});

t.test('what others have written into Name tags harms nobody', async (t) => {
  const evil = [
    'web\x1b[2J',
    'web\n-1',
    'web-$(id)',
    'web-1;id',
    'web 1',
    '-web',
    'wéb',
    'web/../1',
    '',
    'w'.repeat(5000),
  ];
  const tags = evil.map((name, at) => named(`i-${at}`, name));
  const answer = await lookUp(tags, 'web-1');
  t.equal(answer.split(' (')[1], 'are region and account the right ones? NAME.REGION.PROFILE.ec2 names both)');
  t.match(answer, /^[\x20-\x7e]+$/);
  const rows = [named('i-1', 'w', { zone: 'a\x1b[2Jb' }), named('i-2', 'w')];
  t.match(await lookUp(rows, 'w'), /^[\x20-\x7e]+$/);
});

t.test('what was found is known for a minute, for those settings', async (t) => {
  const clock = new ManualClock();
  const names = new InstanceNames(clock);
  const { aws, asked } = account([named('i-1', 'web')]);
  const find = (settings = aws) => names.find({ nameTag: 'web', stoppedToo: false, aws: settings }, never);
  t.equal(await find(), 'i-1');
  await clock.advance(59_000);
  t.equal(await find(), 'i-1');
  t.strictSame(asked, ['web'], 'EC2 was asked once');

  const other = account([named('i-2', 'web')], 'other');
  t.equal(await find(other.aws), 'i-2', 'another caller’s settings lead elsewhere');

  await clock.advance(1_000);
  await find();
  t.equal(asked.length, 2, 'a minute is over');
  names.forget({ nameTag: 'web', stoppedToo: false, aws });
  await find();
  t.equal(asked.length, 3, 'what failed is looked for anew');
});

t.test('connections that come together ask once, and each may give up alone', async (t) => {
  const names = new InstanceNames(new ManualClock());
  const { aws, asked } = account([named('i-1', 'web')]);
  const question = { nameTag: 'web', stoppedToo: false, aws };
  const gone = new AbortController();
  const first = names.find(question, gone.signal);
  const others = Promise.all(Array.from({ length: 10 }, () => names.find(question, never)));
  gone.abort(new Error('gone'));
  await t.rejects(first, { message: 'gone' });
  t.strictSame(new Set(await others), new Set(['i-1']));
  t.equal(asked.length, 1);
});

t.test('a failure is not remembered', async (t) => {
  const names = new InstanceNames(new ManualClock());
  const instances: NamedInstance[] = [];
  const { aws } = account(instances);
  const question = { nameTag: 'web', stoppedToo: false, aws };
  await t.rejects(names.find(question, never), { code: 'name-unknown' });
  instances.push(named('i-1', 'web'));
  t.equal(await names.find(question, never), 'i-1');
});
