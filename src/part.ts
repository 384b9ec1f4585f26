// The parts of the built program: each is a file of dist/lib (scripts/build.ts), and beside them lies what V8 made of them at
// build time, for the Node, system and processor of the build. With that a part need not be compiled, which is most of the
// time that loading it takes. Any other Node, and a program that runs from its sources, does without. Every start of a helper
// goes through here: as little of Node as possible is used.
import { readFileSync } from 'node:fs';
import { Script } from 'node:vm';

/** Names a build by its sources, so that code never meets the sources of another; put in by scripts/build.ts. */
declare const BUILD: string | undefined;

/** Where the code of a build that this Node can use lies, below the folder of the parts. */
export function codeFolder(build: string): string {
  return `code/${build}-${process.version}-${process.platform}-${process.arch}`;
}

/** A part as a function, as Node wraps CommonJS modules. V8 itself looks whether code fits the source, and else compiles. */
export function partScript(folder: string, name: string, code?: Buffer): Script {
  const filename = `${folder}/${name}.js`;
  const source = `(function(exports,require,module){${readFileSync(filename, 'latin1')}\n})`;
  return new Script(source, { filename, ...(code && { cachedData: code }) });
}

/** What a part exports; undefined where there is no code for this Node. */
export function loadPart(name: string): object | undefined {
  if (typeof BUILD === 'undefined') return undefined;
  const main = process.argv[1]!;
  const folder = main.slice(0, main.lastIndexOf('/'));
  const code = `${folder}/${codeFolder(BUILD)}`;
  const first = readIfThere(`${code}/${name}`);
  return first && partLoader(folder, code)(name, first);
}

/** Loads parts, `folder/NAME.js` with the code `code/NAME` if it is there, and those that they require. */
export function partLoader(
  folder: string,
  code: string,
  onLoad?: (name: string, script: Script) => void,
): (name: string, ownCode?: Buffer) => object {
  const loaded = new Map<string, { exports: object }>();
  const load = (name: string, read?: Buffer): object => {
    const known = loaded.get(name);
    if (known !== undefined) return known.exports;
    const ownCode = read ?? readIfThere(`${code}/${name}`);
    const module = { exports: {} };
    loaded.set(name, module);
    const script = partScript(folder, name, ownCode);
    onLoad?.(name, script);
    script.runInThisContext()(module.exports, require, module);
    return module.exports;
  };
  const require = (id: string): unknown =>
    id.startsWith('./') ? load(id.slice('./'.length, -'.js'.length)) : process.getBuiltinModule(id);
  return load;
}

/** Not every part is loaded often enough for its code to be kept. */
function readIfThere(file: string): Buffer | undefined {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}
