// node FLAGS scripts/code.ts FOLDER BUILD PART…: V8's code of parts of a build (src/part.ts), for the Node that runs this and
// its flags. V8 compiles a function when it is first called, and its code holds what was compiled, so connections are made to the
// simulated region: one for which a daemon starts, and, for what a helper needs as a rule, one with that daemon.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { codeFolder, partScript } from '../src/part.ts';
import { startRegion } from '../test/region/region.ts';
import { makeTemporaryFolder, removeFolder } from '../test/region/temporary.ts';

const instanceId = 'i-0123456789abcdef0';
const banner = 'SSH-2.0-build\r\n';
const timeoutMs = 30_000;

const [folder = '', build = '', ...names] = process.argv.slice(2);
const code = join(folder, codeFolder(build));
mkdirSync(code, { recursive: true });
for (const name of names) writeFileSync(join(code, name), partScript(folder, name).createCachedData());
setTimeout(() => fail('no connection within 30 s'), timeoutMs).unref();
await train();

async function train(): Promise<void> {
  const home = makeTemporaryFolder('build');
  const sshd = createServer((socket) => socket.on('error', () => {}).end(banner));
  await once(sshd.listen(0, '127.0.0.1'), 'listening');
  const { port } = sshd.address() as { port: number };
  const nodes = [{ instanceId, ports: { 22: { host: '127.0.0.1', port } } }];
  const region = await startRegion({ nodes, tls: true });
  const { PATH } = process.env;
  const env = { PATH, HOME: home, KEYHOLE_BUILD_FOLDER: folder, KEYHOLE_BUILD_CODE: code, ...region.env };
  try {
    await connect(env);
    await connect(env);
  } finally {
    await end(start(['daemon', 'stop'], env));
    await region.stop();
    sshd.close();
    removeFolder(home);
  }
}

async function connect(env: NodeJS.ProcessEnv): Promise<void> {
  const helper = start(['proxy', '--', instanceId, '22', 'builder'], env);
  const ended = end(helper);
  const [, socket] = (await once(helper, 'message')) as [unknown, Socket];
  await ended;
  socket.write(banner);
  const [answer] = await once(socket, 'data');
  if (String(answer) !== banner) fail(`the server said ${answer}`);
  socket.destroy();
}

/** Node's channel stands for the socket over which ssh is passed a descriptor. */
function start(args: string[], env: NodeJS.ProcessEnv): ChildProcess {
  const stdio = ['ignore', 'ignore', 'inherit', 'ipc'] as const;
  return fork(join(import.meta.dirname, 'code-process.ts'), args, { env, stdio: [...stdio] });
}

async function end(child: ChildProcess): Promise<void> {
  const [status] = await once(child, 'exit');
  if (status !== 0) fail(`a process of keyhole ended with status ${status}`);
}

function fail(why: string): never {
  process.stderr.write(`code: ${why}\n`);
  process.exit(1);
}
