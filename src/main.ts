// Where the process begins, and the only place where it exits. Written for any Node that knows modules, and without
// static imports, since nothing else may be parsed before the version of Node is known to do.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 12)) {
  process.stderr.write(`keyhole: Node.js 22.12 or newer is needed, ${process.execPath} is ${process.versions.node}\n`);
  process.exitCode = 1;
} else {
  import('./cli/run.ts')
    .then(({ run }) => run(process.argv.slice(2), process.env))
    .then((status) => process.exit(status));
}
