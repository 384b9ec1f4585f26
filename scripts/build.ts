// npm run build: dist/, which needs nothing but Node. `dist/keyhole` is src/launcher.sh; `dist/lib/` is the program,
// bundled and split, so that each verb loads only what it needs, and what ssh waits for is one file. Prints what it
// made; fails above 3 MB (issue 2).
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { type BuildOptions, build, type Plugin } from 'esbuild';

const top = resolve(import.meta.dirname, '..');
const dist = join(top, 'dist');
const lib = join(dist, 'lib');
const fresh = join(dist, `lib.${process.pid}`);
const stale = join(dist, `stale.${process.pid}`);
const maxBytes = 3_000_000;

/** CommonJS inside the bundle calls require, which modules have not. */
const requireForCommonJs =
  "import{createRequire as keyholeCreateRequire}from'node:module';const require=keyholeCreateRequire(import.meta.url);";

const common: BuildOptions = {
  absWorkingDir: top,
  outdir: fresh,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node22.12',
  // The SDK's CommonJS can't be split: import('@aws-sdk/…') would be "not a constructor".
  mainFields: ['module', 'main'],
  minify: true,
  legalComments: 'none',
  // Optional native parts of ws; it does without.
  external: ['bufferutil', 'utf-8-validate'],
  logLevel: 'warning',
};
/** Imported by `run` when they are wanted, and so not part of it. */
const verbs = ['proxy-direct', 'resolve-aws', 'usage', 'wanted-settings'];

mkdirSync(fresh, { recursive: true });
// `main` has to be read by any Node. `run` holds all that ssh waits for in one file, since each further one costs a
// millisecond; both are CommonJS, since Node's loader of modules costs more than all of our own code. `errors` is one for
// all: an error is told by its class.
const forSsh: BuildOptions = {
  ...common,
  format: 'cjs',
  supported: { 'dynamic-import': false },
};
await build({ ...forSsh, entryPoints: ['src/main.ts'], plugins: [apart('.js', 'run')] });
await build({ ...forSsh, entryPoints: ['src/cli/run.ts'], plugins: [apart('.js', 'errors'), apart('.mjs', ...verbs)] });
await build({ ...forSsh, entryPoints: ['src/errors.ts'] });
await build({
  ...common,
  entryPoints: verbs.map((verb) => `src/cli/${verb}.ts`),
  splitting: true,
  outExtension: { '.js': '.mjs' },
  banner: { js: requireForCommonJs },
  plugins: [apart('.js', 'errors')],
});
writeFileSync(join(fresh, 'package.json'), '{"type":"commonjs"}\n');
// Swapped in whole: somebody may be starting dist/keyhole right now.
if (existsSync(lib)) renameSync(lib, stale);
renameSync(fresh, lib);
rmSync(stale, { recursive: true, force: true });
copyFileSync(join(top, 'src/launcher.sh'), join(dist, 'keyhole'));
chmodSync(join(dist, 'keyhole'), 0o755);

const files = [join(dist, 'keyhole'), ...readdirSync(lib).map((name) => join(lib, name))];
const bytes = files.reduce((sum, file) => sum + statSync(file).size, 0);
process.stdout.write(`dist: ${files.length} files, ${(bytes / 1e6).toFixed(2)} MB\n`);
if (bytes > maxBytes) {
  process.stderr.write(`build: dist is larger than ${maxBytes / 1e6} MB\n`);
  process.exitCode = 1;
}

/** Modules of ours that are files of their own in dist/lib. */
function apart(extension: '.js' | '.mjs', ...names: string[]): Plugin {
  return {
    name: 'apart',
    setup({ onResolve }) {
      onResolve({ filter: new RegExp(`^\\.(.*)/(${names.join('|')})\\.ts$`) }, ({ path }) => ({
        path: `./${basename(path, '.ts')}${extension}`,
        external: true,
      }));
    },
  };
}
