// `keyhole up` and `keyhole down`: local tunnels that the configuration file names and the daemon keeps.
import { systemClock } from '../clock.ts';
import { type ForwardTable, readConfigFile } from '../config-file.ts';
import { FrameType } from '../control/frame.ts';
import { expectFrame } from '../control/link.ts';
import { parseError, parseNames } from '../control/message.ts';
import { KeyholeError, UsageError } from '../errors.ts';
import { findDaemon } from '../helper/connect.ts';
import { nearest } from '../nearest.ts';
import { findPaths } from '../paths.ts';
import { parseForwarding } from '../target/forwarding.ts';
import { askForward } from './ask-forward.ts';
import { usableSshDir } from './own-paths.ts';
import type { VerbContext } from './run.ts';

/** @param names none for all that the file has */
export async function up(names: string[], context: VerbContext): Promise<void> {
  const tables = readTables(context.env);
  const wanted = names.length > 0 ? names : Object.keys(tables);
  if (wanted.length === 0) throw noTables();
  for (const name of wanted) if (tables[name] === undefined) throw unknown(name, Object.keys(tables));
  for (const name of wanted) await bringUp(name, tables[name]!, context);
}

async function bringUp(name: string, { host, ports, expose }: ForwardTable, context: VerbContext): Promise<void> {
  const ends = ports.map(parseForwarding);
  const request = { name, host, forwardings: ports, expose, detached: true, flags: {} };
  const { link, locals } = await askForward(request, context);
  link.socket.destroy();
  for (const [at, { remoteHost, remotePort }] of ends.entries()) {
    const where = remoteHost === undefined ? `port ${remotePort} of` : `${remoteHost} port ${remotePort} by way of`;
    context.terminal.print(`${name}: ${locals[at]} leads to ${where} ${host}`);
  }
}

/** @param names none for all that are up */
export async function down(names: string[], { env, signal, terminal }: VerbContext): Promise<void> {
  const found = await findDaemon({ sshDir: usableSshDir(env), clock: systemClock, signal });
  if (found === undefined) {
    if (names.length > 0) throw notUp(names[0]!);
    return terminal.print('no tunnels are up');
  }
  const { link } = found;
  try {
    link.send(FrameType.down, { names });
    const frame = await link.receive();
    if (frame.type === FrameType.error) throw parseError(frame.body);
    const ended = parseNames(expectFrame(frame, FrameType.done));
    terminal.print(ended.length === 0 ? 'no tunnels are up' : ended.map((name) => `${name}: down`).join('\n'));
  } finally {
    link.socket.destroy();
  }
}

function readTables(env: NodeJS.ProcessEnv): Record<string, ForwardTable> {
  const file = findPaths(env).configFile;
  return file === undefined ? {} : readConfigFile(file).forwards;
}

function noTables(): UsageError {
  return new UsageError('forward-unknown', 'the configuration file has no tunnels', {
    hint: 'a tunnel is a table such as [forward.db] with host and ports; keyhole forward does without',
  });
}

function unknown(name: string, known: string[]): UsageError {
  const meant = nearest(name, known);
  const hint = known.length === 0 ? 'it has none' : `it has ${known.join(', ')}`;
  return new UsageError('forward-unknown', `the configuration file has no tunnel ${JSON.stringify(name)}`, {
    hint: meant === undefined ? hint : `did you mean ${meant}?`,
  });
}

function notUp(name: string): KeyholeError {
  return new KeyholeError('forward-unknown', `no tunnel ${name} is up`, { hint: 'no daemon is running' });
}
