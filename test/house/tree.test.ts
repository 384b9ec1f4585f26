// What a stranger would trip over: scripts that don't start, documents that name what is not there, packages that nobody
// explained or declared, files that have grown two jobs.
import { execFileSync } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import t from 'tap';
import packageJson from '../../package.json' with { type: 'json' };
import { sourceFiles, top } from './tree.ts';

const read = (path: string): string => readFileSync(resolve(top, path), 'utf8');
const startsWithShebang = (path: string): boolean => read(path).startsWith('#!');
const scripts = [...readdirSync(resolve(top, 'scripts')).map((name) => `scripts/${name}`), '.ci/run'];
const shellScripts = scripts.filter((path) => path === 'scripts/lib.sh' || read(path).startsWith('#!/bin/sh'));
const documents = readdirSync(top).filter((name) => name.endsWith('.md'));

t.test('scripts can be run, and are shell that a POSIX sh can read', async (t) => {
  t.ok(scripts.includes('scripts/demo') && scripts.includes('scripts/test') && scripts.includes('scripts/check'));
  for (const path of scripts.filter(startsWithShebang)) {
    t.doesNotThrow(() => accessSync(resolve(top, path), constants.X_OK), `${path} has its run bit`);
  }
  for (const path of shellScripts) t.doesNotThrow(() => execFileSync('sh', ['-n', resolve(top, path)]), path);
});

t.test('every script that is run by hand explains itself and starts nothing', async (t) => {
  for (const path of scripts.filter((name) => name.startsWith('scripts/') && startsWithShebang(name))) {
    const help = execFileSync(resolve(top, path), ['--help'], { encoding: 'utf8', cwd: '/' });
    t.ok(help.startsWith(path), path);
  }
});

t.test('the README names the two commands that a stranger runs', async (t) => {
  const commands = [...read('README.md').matchAll(/^ {4}(scripts\/\S+)/gm)].map(([, command]) => command);
  t.ok(commands.includes('scripts/demo') && commands.includes('scripts/test'));
});

t.test('links and scripts that the documents name exist', async (t) => {
  for (const document of documents) {
    const text = read(document);
    const links = [...text.matchAll(/\]\((?!https?:)([^)#]+)\)/g)].map(([, target]) => target!);
    const named = [...text.matchAll(/\bscripts\/[a-z][a-z.-]*[a-z]/g)].map(([path]) => path);
    const missing = [...links, ...named].filter((path) => !existsSync(resolve(top, path)));
    t.strictSame(missing, [], document);
  }
});

t.test('every dependency has its reason in ARCHITECTURE.md, and nothing else is listed there', async (t) => {
  const { dependencies, devDependencies, optionalDependencies } = packageJson;
  const packages = Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies });
  const section = /\n## Dependencies\n([\s\S]*?)\n## /.exec(read('ARCHITECTURE.md'))?.[1] ?? '';
  const rows = section.split('\n').filter((line) => line.startsWith('| `'));
  const explained = rows.flatMap((row) => [...row.split('|')[1]!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!));
  t.strictSame(explained.sort(), packages.sort());
});

t.test('every package that a source loads is declared', async (t) => {
  const declared = (names: object) => new Set(Object.keys(names));
  const shipped = declared(packageJson.dependencies);
  const all = declared({ ...packageJson.dependencies, ...packageJson.devDependencies });
  const undeclared = [...sourceFiles('src'), ...sourceFiles('test'), ...sourceFiles('scripts')].flatMap((file) => {
    const loaded = [...read(file).matchAll(/^(?:import|export|\}) .*?\bfrom '([^.'][^']*)';$/gm)].map(
      ([, name]) => name!,
    );
    const packages = loaded.filter((name) => !name.startsWith('node:')).map(packageOf);
    const allowed = file.startsWith('src/') ? shipped : all;
    return packages.filter((name) => !allowed.has(name)).map((name) => `${file}: ${name}`);
  });
  t.strictSame(undeclared, []);
});

t.test('the lock file names no registry', async (t) => {
  t.notMatch(read('package-lock.json'), /"resolved"/);
});

t.test('the bundle is built for the oldest Node that package.json admits', async (t) => {
  const oldest = /^>=(\d+\.\d+)$/.exec(packageJson.engines.node)?.[1];
  t.match(read('scripts/build.ts'), `target: 'node${oldest}'`);
});

t.test('what is packed is what runs: the launcher, the bundle and the manual', async (t) => {
  t.equal(packageJson.bin.keyhole, 'dist/keyhole');
  t.ok(packageJson.files.includes('dist') && packageJson.files.includes('man'));
});

t.test('sources are short enough to have one job', async (t) => {
  const lines = (file: string) => read(file).split('\n').length;
  t.strictSame(
    [...sourceFiles('src'), ...sourceFiles('scripts')].filter((file) => lines(file) > 450),
    [],
  );
});

/** `@scope/name/part` → `@scope/name`. */
function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}
