import t from 'tap';
import { matchesHost } from '../src/host-patterns.ts';

t.test('patterns are those of ssh_config', async (t) => {
  for (const [patterns, name, matches] of [
    ['web-1', 'web-1', true],
    ['web-1', 'web-12', false],
    ['web-*', 'web-', true],
    ['*.ec2', 'a.b.ec2', true],
    ['*', '', true],
    ['web-?', 'web-1', true],
    ['web-?', 'web-', false],
    ['web-?', 'web-12', false],
    ['*a*b', 'xaxbxab', true],
    ['*a*b', 'xaxbxa', false],
    ['a.c', 'abc', false],
    ['a[bc]', 'ab', false],
    ['WEB-1', 'web-1', true],
    ['db web-*', 'web-1', true],
    ['db,web-*', 'web-1', true],
    ['web-* !web-9', 'web-9', false],
    ['!web-9 web-*', 'web-9', false],
    ['!web-9', 'web-1', false],
    ['', '', false],
  ] as const) {
    t.equal(matchesHost(patterns, name), matches, `${JSON.stringify(patterns)} and ${JSON.stringify(name)}`);
  }
});

t.test('no pattern takes long', async (t) => {
  t.notOk(matchesHost(`${'*a'.repeat(500)}b`, 'a'.repeat(10_000)));
});
