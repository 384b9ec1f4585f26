// Where the process begins, and the only place where it exits. Written for any Node that knows modules: nothing else may be
// parsed before the version of Node is known to do.
import { loadPart } from './part.ts';

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 12)) {
  process.stderr.write(
    `keyhole: Node.js 22.12 or newer is needed, ${process.execPath} is ${process.versions.node}\n` +
      'keyhole: hint: install a newer one, or let KEYHOLE_NODE name it\n',
  );
  process.exitCode = 1;
} else {
  const compiled = loadPart('run') as typeof import('./cli/run.ts') | undefined;
  Promise.resolve(compiled ?? import('./cli/run.ts'))
    .then(({ run }) => run(process.argv.slice(2), process.env, compiled !== undefined))
    .then((status) => process.exit(status));
}
