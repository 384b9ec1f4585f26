// The man pages say what the program says: every error code, every setting with its names and default, every verb and option.
// The program is what src/main.ts reaches by imports; what is not wired yet is not promised to anybody.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { build } from 'esbuild';
import t from 'tap';
import { verbs } from '../../src/cli/completion.ts';
import { envName, fileKey, flagName, type Setting, settings, showDuration } from '../../src/settings.ts';
import { top } from './tree.ts';

const manual = (name: string) => readFileSync(resolve(top, 'man', name), 'utf8');
const pages = readdirSync(resolve(top, 'man')).filter((name) => /\.[1-9]$/.test(name));
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
function section(name: string, page = manual('keyhole.1')): string {
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
  const items = section('SETTINGS', manual('keyhole_config.5'))
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

t.test('every option of a verb is in its page', async (t) => {
  // What --help says of them is compared in test/cli/completion.test.ts.
  for (const { name, options } of verbs) {
    const own = `keyhole-${name}.1`;
    const where = pages.includes(own) ? own : ['up', 'down'].includes(name) ? 'keyhole-forward.1' : 'keyhole.1';
    for (const option of options.map((text) => text.replace(/=$/, ''))) {
      const long = new RegExp(`Fl -(?:${option}|\\s*Ns Oo Cm no- Oc Ns Cm ${option.replace(/^no-/, '')})\\b`);
      t.match(manual(where), new RegExp(`${long.source}|Fl ${option[0]}\\b`), `--${option} of ${name} in ${where}`);
    }
  }
});

t.test('every page says where to read on, and every page of ours that is named exists', async (t) => {
  for (const page of pages) {
    const [, name, number] = /^(.*)\.([1-9])$/.exec(page)!;
    t.match(manual(page), `.Dt ${name!.toUpperCase()} ${number}\n`, page);
    t.match(section('NAME', manual(page)), new RegExp(`\\.Nm ${name}\\b[^]*\\.Nd .`), page);
    for (const [, other, part] of section('SEE ALSO', manual(page)).matchAll(/^\.Xr (keyhole\S*) ([1-9])/gm)) {
      t.ok(pages.includes(`${other}.${part}`), `${page} names ${other}(${part})`);
    }
    if (page !== 'keyhole.1') t.match(section('SEE ALSO'), `.Xr ${name} ${number}`, `keyhole(1) names ${page}`);
  }
});

const hasMandoc = spawnSync('mandoc', ['-Tlint', '/dev/null']).error === undefined;
t.test('mandoc has nothing to say', { skip: !hasMandoc && 'mandoc is not installed' }, async (t) => {
  for (const page of pages) {
    const { stdout } = spawnSync('mandoc', ['-Tlint', resolve(top, 'man', page)], { encoding: 'utf8' });
    // Those of other programs, and ours, need not be installed here.
    const said = stdout.split('\n').filter((line) => line !== '' && !line.includes('referenced manual not found'));
    t.strictSame(said, [], page);
  }
});
