import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { codeFolder, partLoader, partScript } from '../src/part.ts';

/** A folder with parts, and one with code of `a` for this Node. */
function makeParts(t: Test, parts: Record<string, string>) {
  const folder = t.testdir(Object.fromEntries(Object.entries(parts).map(([name, source]) => [`${name}.js`, source])));
  const code = join(folder, codeFolder('build'));
  mkdirSync(code, { recursive: true });
  writeFileSync(join(code, 'a'), partScript(folder, 'a').createCachedData());
  return { folder, code };
}

t.test('a part has what it exports, other parts once each, and the modules of Node', async (t) => {
  const { folder, code } = makeParts(t, {
    a: "exports.b=require('./b.js');exports.sep=require('node:path').sep;exports.self=require('./a.js')===exports",
    b: "exports.a=require('./a.js')",
  });
  const load = partLoader(folder, code);
  const a = load('a') as { b: { a: unknown }; sep: string; self: boolean };
  t.match(a, { sep: '/', self: true });
  t.equal(a.b.a, a, 'whichever came first');
  t.equal(load('a'), a);
});

t.test('nothing is read again for a part that is there', async (t) => {
  const { folder, code } = makeParts(t, { a: "exports.b=require('./b.js')", b: '' });
  const read: string[] = [];
  const { partLoader } = (await t.mockImport('../src/part.ts', {
    'node:fs': {
      readFileSync(...args: Parameters<typeof readFileSync>) {
        read.push(String(args[0]));
        return readFileSync(...args);
      },
    },
  })) as typeof import('../src/part.ts');
  const load = partLoader(folder, code);
  load('a');
  const first = read.splice(0).length;
  t.equal(first, 4, 'source and code of both');
  load('a');
  load('b');
  t.same(read, []);
});

t.test('code is taken for its own source, and else the source is compiled', async (t) => {
  const { folder, code } = makeParts(t, { a: 'exports.is="old"' });
  const script = partScript(folder, 'a', readFileSync(join(code, 'a')));
  t.equal(script.cachedDataRejected, false);
  writeFileSync(join(folder, 'a.js'), 'exports.is="another"');
  t.equal(partScript(folder, 'a', readFileSync(join(code, 'a'))).cachedDataRejected, true);
  t.strictSame(partLoader(folder, code)('a'), { is: 'another' });
  t.strictSame(partLoader(folder, join(folder, 'none'))('a'), { is: 'another' });
});

t.test('the code of the build is taken by the Node that made it, as the launcher starts it', async (t) => {
  const lib = resolve('dist/lib');
  const [made] = readdirSync(join(lib, 'code'));
  t.equal(made?.replace(/^[0-9a-f]{16}-/, ''), codeFolder('').replace(/^code\/-/, ''), 'for this Node');
  const flags = /^exec "\$node" (.*) "\$dir/m.exec(readFileSync('src/launcher.sh', 'utf8'))?.[1]?.split(' ') ?? [];
  const names = readdirSync(join(lib, 'code', made!));
  t.ok(['run', 'daemon-run', 'context', 'resolve'].every((name) => names.includes(name)));
  const program = `
    import { readFileSync } from 'node:fs';
    import { partScript } from ${JSON.stringify(resolve('src/part.ts'))};
    const [lib, made, ...names] = process.argv.slice(1);
    const isRejected = (name) => partScript(lib, name, readFileSync(lib + '/code/' + made + '/' + name)).cachedDataRejected;
    console.log(names.filter(isRejected).join());`;
  const args = [...flags, '--input-type=module', '-e', program, lib, made!, ...names];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', env: {} });
  t.equal(stdout, '\n', stderr);
});
