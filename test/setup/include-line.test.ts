import fc from 'fast-check';
import t from 'tap';
import { addInclude, hasInclude, removeInclude } from '../../src/setup/include-line.ts';

const path = '~/.ssh/keyhole/config';
const paths = [path, 'keyhole/config', '/home/ü ser/.ssh/keyhole/config'];
const line = `Include ${path}`;
const bytes = (text: string) => Buffer.from(text, 'utf8');

t.test('the line comes first, with the line end of the file', async (t) => {
  t.equal(addInclude(bytes(''), path).toString(), `${line}\n`);
  t.equal(addInclude(bytes('Host a'), path).toString(), `${line}\nHost a`);
  t.equal(addInclude(bytes('Host a\n  User b\n'), path).toString(), `${line}\nHost a\n  User b\n`);
  t.equal(addInclude(bytes('Host a\r\n  User b\r\n'), path).toString(), `${line}\r\nHost a\r\n  User b\r\n`);
  t.equal(addInclude(bytes('\n\r\n'), path).toString(), `${line}\n\n\r\n`);
});

t.test('whatever the bytes are, what was added is taken away again, and nothing else', async () => {
  const pieces = fc.constantFrom(
    '\n',
    '\r\n',
    '\r',
    'Include ',
    'Include a',
    'Host *',
    ' ',
    '\t',
    '#',
    '"',
    '\ufeff',
    path,
  );
  const config = fc
    .array(fc.oneof(fc.uint8Array({ maxLength: 8 }).map(Buffer.from), pieces.map(bytes)), { maxLength: 20 })
    .map((parts) => Buffer.concat(parts))
    .filter((config) => !hasInclude(config, paths));
  fc.assert(
    fc.property(config, (config) => {
      const added = addInclude(config, path);
      return hasInclude(added, paths) && removeInclude(added, paths).equals(config);
    }),
    { numRuns: 500 },
  );
});

t.test('the line is known in every way in which ssh would read it', async (t) => {
  for (const text of [
    line,
    `${line}\r`,
    '  include   keyhole/config  ',
    'INCLUDE=keyhole/config',
    'Include = "keyhole/config"',
    '\tInclude\t"/home/ü ser/.ssh/keyhole/config"',
  ]) {
    t.ok(hasInclude(bytes(`Host a\n${text}\n`), paths), text);
    t.equal(removeInclude(bytes(`Host a\n${text}\nHost b`), paths).toString(), 'Host a\nHost b', text);
  }
  for (const text of [`# ${line}`, 'Include other', `IncludeX ${path}`, `Include ${path}.old`, `User ${path}`]) {
    t.notOk(hasInclude(bytes(text), paths), text);
  }
});

t.test('a line that includes other files too is the user’s own', async (t) => {
  const config = bytes(`Include other ${path}\n`);
  t.ok(hasInclude(config, paths));
  t.ok(removeInclude(config, paths).equals(config));
});
