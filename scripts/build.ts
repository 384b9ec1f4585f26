// npm run build: dist/, which needs nothing but Node. `dist/keyhole` is src/launcher.sh; `dist/lib/` is the program in parts, one
// file for what is loaded together, and what V8 makes of them (src/part.ts). Prints what it made; fails above 3 MB (issue 2).
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { type BuildOptions, build, type OnResolveResult, type Plugin } from 'esbuild';
import { warmHelper } from './warm-helper.ts';

const top = resolve(import.meta.dirname, '..');
const dist = join(top, 'dist');
const lib = join(dist, 'lib');
const fresh = join(dist, `lib.${process.pid}`);
const stale = join(dist, `stale.${process.pid}`);
const maxBytes = 3_000_000;

/** What the SDK itself loads only when it is wanted; in one part, since some of them want others. */
const providers = ['cognito-identity', 'http', 'ini', 'login', 'process', 'sso', 'web-identity'].map(
  (name) => `@aws-sdk/credential-provider-${name}`,
);
/** Parts by name, with the modules whose exports are theirs. All but `run` are loaded when they are wanted. */
const parts = {
  // All that ssh waits for as a rule; the errors too, since an error is told by its class, and there must be one of each.
  run: ['src/cli/run.ts', 'src/errors.ts'],
  'daemon-run': ['src/cli/daemon-run.ts'],
  'proxy-direct': ['src/cli/proxy-direct.ts'],
  'resolve-aws': ['src/cli/resolve-aws.ts'],
  usage: ['src/cli/usage.ts'],
  'wanted-settings': ['src/cli/wanted-settings.ts'],
  context: ['src/aws/context.ts'],
  credentials: ['src/aws/credentials.ts', ...providers],
  'ec2-client': ['src/aws/ec2-client.ts'],
  resolve: ['src/aws/resolve.ts'],
};
/** Parts that somebody may wait for with every connection, or with a daemon's first. Code is twice as large as its source. */
const often = ['run', 'daemon-run', 'context', 'resolve', 'resolve-aws', 'wanted-settings'];
const partOf = new Map(Object.entries(parts).flatMap(([name, modules]) => modules.map((at) => [join(top, at), name])));

// CommonJS, since Node's loader of modules costs more than all of our own code.
const common: BuildOptions = {
  absWorkingDir: top,
  outdir: fresh,
  bundle: true,
  format: 'cjs',
  supported: { 'dynamic-import': false },
  // Of yargs, which looks for its other languages there: where nothing can be.
  define: { 'import.meta.url': '"file:///dev/keyhole/yargs/lib/yargs.mjs"' },
  platform: 'node',
  target: 'node22.12',
  mainFields: ['module', 'main'],
  minify: true,
  legalComments: 'none',
  logLevel: 'warning',
};

mkdirSync(fresh, { recursive: true });
process.on('exit', () => rmSync(fresh, { recursive: true, force: true }));
for (const [name, modules] of Object.entries(parts)) {
  const from = (module: string) => (module.startsWith('src/') ? `./${module}` : module);
  const contents = modules.map((module) => `export * from '${from(module)}';`).join('');
  await build({
    ...common,
    stdin: { contents, resolveDir: top, sourcefile: name },
    outdir: '',
    outfile: join(fresh, `${name}.js`),
    plugins: [pruneSchemas(), apart(name)],
  });
}
const sources = Object.keys(parts).map((name) => readFileSync(join(fresh, `${name}.js`)));
const id = sources
  .reduce((hash, source) => hash.update(source), createHash('sha256'))
  .digest('hex')
  .slice(0, 16);
// Read by any Node, if only to say that it is too old.
await build({
  ...common,
  target: 'node12',
  entryPoints: ['src/main.ts'],
  define: { BUILD: JSON.stringify(id) },
  plugins: [apart('main')],
});
writeFileSync(join(fresh, 'package.json'), '{"type":"commonjs"}\n');
writeFileSync(join(fresh, 'warm.pl'), warmHelper());
makeCode();
// Swapped in whole: somebody may be starting dist/keyhole right now.
if (existsSync(lib)) renameSync(lib, stale);
renameSync(fresh, lib);
rmSync(stale, { recursive: true, force: true });
copyFileSync(join(top, 'src/launcher.sh'), join(dist, 'keyhole'));
chmodSync(join(dist, 'keyhole'), 0o755);

const files = [join(dist, 'keyhole'), ...filesBelow(lib)];
const bytes = files.reduce((sum, file) => sum + statSync(file).size, 0);
process.stdout.write(`dist: ${files.length} files, ${(bytes / 1e6).toFixed(2)} MB\n`);
if (bytes > maxBytes) {
  process.stderr.write(`build: dist is larger than ${maxBytes / 1e6} MB\n`);
  process.exitCode = 1;
}

/** Imports of what is in other parts are left to the moment when it is wanted. */
function apart(own: string): Plugin {
  return {
    name: 'apart',
    setup({ onResolve }) {
      onResolve({ filter: /^\.\.?\// }, ({ path, resolveDir, kind }) => {
        const name = partOf.get(join(resolveDir, path));
        // A part may want itself later. What is bundled and wanted later keeps esbuild from leaving out what nobody uses, in
        // all that it imports; the parts of people may be so.
        const isOurs = resolveDir.startsWith(join(top, 'src'));
        if (kind === 'dynamic-import' && name === undefined && isOurs && !['run', 'usage'].includes(own)) {
          return { errors: [{ text: `${path} is loaded later: it has to be a part, or to be imported at once` }] };
        }
        return name === undefined || (name === own && kind !== 'dynamic-import') ? undefined : external(name);
      });
      onResolve({ filter: /^@aws-sdk\// }, ({ path, kind }) =>
        kind === 'dynamic-import' && providers.includes(path) ? external('credentials') : undefined,
      );
    },
  };
}

function external(name: string): OnResolveResult {
  return { path: `./${name}.js`, external: true };
}

/**
 * AWS describes each of its services in one module of thousands of arrays, of which the program uses some. That an array has
 * no effect esbuild does not see by itself, so it is told, and leaves out what nobody refers to.
 */
function pruneSchemas(): Plugin {
  return {
    name: 'prune-schemas',
    setup({ onLoad }) {
      onLoad({ filter: /[\\/]schemas[\\/]schemas_\d+\.js$/ }, ({ path }) => ({
        contents: readFileSync(path, 'utf8').replace(
          /^((?:export )?(?:var|const) [\w$]+ = )(\[[^;]*\]);$/gm,
          '$1/* @__PURE__ */ (() => $2)();',
        ),
      }));
    },
  };
}

/** By a Node with the flags of the launcher, since V8 takes code with the same flags only. */
function makeCode(): void {
  const flags = /^set -- "\$node" (.*) "\$dir/m.exec(readFileSync(join(top, 'src/launcher.sh'), 'utf8'))?.[1] ?? '';
  const args = [...flags.split(' ').filter(Boolean), join(top, 'scripts/code.ts'), fresh, id, ...often];
  const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' });
  if (status !== 0) throw new Error('the code of the parts could not be made');
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}
