// A process of keyhole that keeps what V8 compiled in it (code.ts): in place of main.ts, for itself and for the processes that it
// starts. Each keeps what it is first to wait for; of several helpers the last one does.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Script } from 'node:vm';
import type * as Run from '../src/cli/run.ts';
import { partLoader } from '../src/part.ts';

const { KEYHOLE_BUILD_FOLDER: folder = '', KEYHOLE_BUILD_CODE: code = '' } = process.env;
const scripts = new Map<string, Script>();
const load = partLoader(folder, code, (name, script) => scripts.set(name, script));
process.on('exit', () => {
  const kept = process.argv[2] === 'proxy' ? ['run', 'resolve'] : ['daemon-run', 'context'];
  for (const [name, script] of scripts) {
    if (kept.includes(name)) writeFileSync(join(code, name), script.createCachedData());
  }
});
const { run } = load('run') as typeof Run;
process.exit(await run(process.argv.slice(2), process.env, true));
