import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { changeOf, makeChange, showChange } from '../../src/setup/change.ts';

const mode = (path: string) => statSync(path).mode & 0o777;

/** Appends, as setup prepends. */
function append(path: string): void {
  makeChange(changeOf(path, (before) => Buffer.concat([before ?? Buffer.alloc(0), Buffer.from('new\n')]))!, 'do it');
}

function folderWith(t: Test, content: string): { folder: string; file: string } {
  const folder = t.testdir({ config: content });
  return { folder, file: join(folder, 'config') };
}

t.test('a file that is made is for the user alone, and so are folders above it', async (t) => {
  const folder = t.testdir();
  const before = process.umask(0);
  t.teardown(() => process.umask(before));
  append(join(folder, 'ssh', 'config'));
  t.equal(mode(join(folder, 'ssh', 'config')), 0o600);
  t.equal(mode(join(folder, 'ssh')), 0o700);
});

t.test('a file that is changed keeps its mode, and nothing is left beside it', async (t) => {
  const { folder, file } = folderWith(t, 'old\n');
  for (const bits of [0o600, 0o644, 0o664, 0o755]) {
    chmodSync(file, bits);
    append(file);
    t.equal(mode(file), bits);
  }
  t.equal(readFileSync(file, 'utf8'), 'old\nnew\nnew\nnew\nnew\n');
  t.strictSame(readdirSync(folder), ['config']);
});

t.test('what is already as it should be is no change', async (t) => {
  const { folder, file } = folderWith(t, 'old\n');
  t.equal(
    changeOf(file, (before) => before),
    undefined,
  );
  t.equal(
    changeOf(file, () => Buffer.from('old\n')),
    undefined,
  );
  t.equal(
    changeOf(join(folder, 'none'), () => undefined),
    undefined,
  );
});

t.test('a link stays a link, and what it leads to is changed', async (t) => {
  const { folder } = folderWith(t, '');
  mkdirSync(join(folder, 'dotfiles'));
  const [real, link] = [join(folder, 'dotfiles', 'ssh'), join(folder, 'link')];
  writeFileSync(real, 'old\n', { mode: 0o640 });
  symlinkSync('dotfiles/ssh', link);
  append(link);
  t.ok(lstatSync(link).isSymbolicLink());
  t.equal(readlinkSync(link), 'dotfiles/ssh');
  t.equal(readFileSync(real, 'utf8'), 'old\nnew\n');
  t.equal(mode(real), 0o640);
  t.strictSame(readdirSync(join(folder, 'dotfiles')), ['ssh']);
});

t.test('two names of one file stay two names of one file', async (t) => {
  const { folder, file } = folderWith(t, 'old\n');
  linkSync(file, join(folder, 'other'));
  append(file);
  t.equal(readFileSync(join(folder, 'other'), 'utf8'), 'old\nnew\n');
});

t.test('a read-only file stays as it is, and the user is told what to do', async (t) => {
  const { file } = folderWith(t, 'old\n');
  chmodSync(file, 0o400);
  t.throws(() => append(file), {
    code: 'setup-file',
    message: `${file} is read-only`,
    hint: `chmod u+w ${file}, or do it`,
  });
  t.equal(readFileSync(file, 'utf8'), 'old\n');
});

t.test('a link to nowhere, and a folder in place of a file, are told of', async (t) => {
  const folder = t.testdir();
  symlinkSync('gone', join(folder, 'link'));
  t.throws(() => append(join(folder, 'link')), { code: 'setup-file', message: /is a link to nowhere/ });
  t.throws(() => append(folder), { code: 'setup-file', message: /cannot be read: EISDIR/ });
});

t.test('what the system says is told in words', async (t) => {
  const folder = t.testdir();
  symlinkSync('loop', join(folder, 'loop'));
  const change = { path: join(folder, 'loop/config'), before: undefined, after: Buffer.from('ours\n') };
  t.throws(() => makeChange(change), { code: 'setup-file', message: /cannot be written: [a-z]+ [a-z ]+/ });
});

t.test('what somebody else has written meanwhile is not lost', async (t) => {
  const { file } = folderWith(t, 'old\n');
  const change = changeOf(file, () => Buffer.from('ours\n'))!;
  writeFileSync(file, 'theirs\n');
  t.throws(() => makeChange(change), { code: 'setup-file', message: /changed by somebody else/ });
  t.equal(readFileSync(file, 'utf8'), 'theirs\n');
});

t.test('a file that is to go goes', async (t) => {
  const { file } = folderWith(t, 'old\n');
  const change = changeOf(file, () => undefined)!;
  t.match(showChange(change), '-old');
  makeChange(change);
  t.notOk(existsSync(file));
});
