// The man page says what the program says: every error code, every setting with its names and default, every verb.
// The program is what src/main.ts reaches by imports; what is not wired yet is not promised to anybody.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { build } from 'esbuild';
import t from 'tap';
import { envName, fileKey, flagName, type Setting, settings, showDuration } from '../../src/settings.ts';
import { top } from './tree.ts';

const page = readFileSync(resolve(top, 'man/keyhole.1'), 'utf8');
const { metafile } = await build({
  absWorkingDir: top,
  entryPoints: ['src/main.ts'],
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  write: false,
  metafile: true,
  logLevel: 'silent',
});
const sources = Object.keys(metafile.inputs).map((file) => readFileSync(resolve(top, file), 'utf8'));

/** The text between `.Sh NAME` and the next `.Sh`. */
function section(name: string): string {
  const start = page.indexOf(`\n.Sh ${name}\n`);
  if (start < 0) throw new Error(`the page has no section ${name}`);
  const end = page.indexOf('\n.Sh ', start + 1);
  return page.slice(start, end < 0 ? undefined : end);
}

/** Codes as they stand in the sources of the program; a template `access-denied${…}` is all codes that begin so. */
function codesInSource(): { exact: Set<string>; prefixes: string[] } {
  const exact = new Set<string>();
  const prefixes: string[] = [];
  for (const source of sources) {
    const made = /\bnew (?:Keyhole|Usage|Config|Aws|Protocol|Transport)Error\(\s*['"`]([a-z][a-z0-9-]*)/g;
    const named = /\bcode:\s*(['"`])([a-z][a-z0-9-]*)(\$\{)?/g;
    for (const [, code] of source.matchAll(made)) exact.add(code!);
    for (const [, , code, isTemplate] of source.matchAll(named)) {
      exact.add(code!);
      if (isTemplate) prefixes.push(code!);
    }
  }
  return { exact, prefixes };
}

t.test('every error code of the program is in the page, and no other', async (t) => {
  const { exact, prefixes } = codesInSource();
  const described = new Set([...section('ERROR CODES').matchAll(/^\.It Cm ([a-z0-9-]+)$/gm)].map(([, code]) => code!));
  t.ok(exact.size > 20, 'codes were found');
  t.strictSame([...exact].filter((code) => !described.has(code)).sort(), [], 'codes that the page lacks');
  const unknown = [...described].filter((code) => !exact.has(code) && !prefixes.some((p) => code.startsWith(`${p}-`)));
  t.strictSame(unknown.sort(), [], 'codes that nothing gives');
});

t.test('error codes are in alphabetical order', async (t) => {
  const codes = [...section('ERROR CODES').matchAll(/^\.It Cm (\S+)$/gm)].map(([, code]) => code!);
  t.strictSame(codes, [...codes].sort());
});

t.test('every setting is in the page with its three names and its default, and no other', async (t) => {
  const items = section('SETTINGS')
    .split(/^\.It /m)
    .slice(1);
  const described = items.map((item) => /Cm ([a-z_.]+)$/m.exec(item.split('\n')[0]!)?.[1]);
  t.strictSame(described, Object.keys(settings).map(fileKey));
  for (const [name, setting] of Object.entries<Setting<unknown>>(settings)) {
    const item = items.find((candidate) => candidate.includes(`Ev ${envName(name)} ,`)) ?? '';
    t.match(item, `Fl -${flagName(name)} ,`, `${name}: flag`);
    const value = setting.default;
    const nothing = value === undefined || (Array.isArray(value) && value.length === 0);
    const shown = name.endsWith('Ms') ? showDuration(value as number) : String(value);
    t.match(item, nothing ? 'Default: none' : `Default\n.Ql ${shown} .`, `${name}: default`);
  }
});

t.test('every verb that yargs knows is in the synopsis', async (t) => {
  const usage = readFileSync(resolve(top, 'src/cli/usage.ts'), 'utf8');
  const verbs = [...usage.matchAll(/\.command\(\s*'([a-z-]+)/g)].map(([, verb]) => verb!);
  const synopsis = [...section('SYNOPSIS').matchAll(/^\.Nm keyhole\n\.Cm ([a-z-]+)$/gm)].map(([, verb]) => verb!);
  t.ok(verbs.includes('proxy'));
  t.strictSame(synopsis.sort(), verbs.sort());
});
