// `keyhole daemon run`: the daemon itself. As a rule a connection starts it, and waits for it.
import { join } from 'node:path';
import { loadSettings, type SettingSources } from '../config.ts';
import { inheritedSocket } from '../daemon/activation.ts';
import { rotatingLog } from '../daemon/rotating-log.ts';
import { runDaemon, runPrivateDaemon } from '../daemon/run.ts';
import { KeyholeError } from '../errors.ts';
import { daemonEnvironment } from '../helper/spawn-daemon.ts';
import { silent } from '../log.ts';
import type { Settings } from '../settings.ts';
import { ownPaths, usableSshDir } from './own-paths.ts';
import { resolveArguments } from './resolve-arguments.ts';
import type { VerbContext } from './run.ts';

/** Where the private daemon finds its connection (helper/spawn-daemon.ts). */
const privateFd = 3;

export async function daemonRun({ isPrivate }: { isPrivate: boolean }, { env, signal }: VerbContext): Promise<void> {
  const paths = ownPaths(env);
  const inherited = isPrivate ? undefined : inheritedSocket(env);
  // A daemon started by hand must not have its shell's AWS settings either.
  for (const name of Object.keys(process.env)) if (!(name in daemonEnvironment(env))) delete process.env[name];
  process.umask(0o077);
  process.chdir('/');
  const { settings, problem } = settingsOrDefaults({ env, file: paths.configFile });
  const { stateDir } = paths;
  const level = settings.logLevel === 'error' ? 'info' : settings.logLevel;
  const log = stateDir === undefined ? silent : rotatingLog(join(stateDir, 'daemon.log'), level);
  if (problem !== undefined) log('error', 'settings not used', { code: problem.code, why: problem.message });
  const options = { paths, settings, log, resolveArguments, inherited, signal };
  try {
    if (isPrivate) await runPrivateDaemon(options, privateFd);
    else await runDaemon(options, usableSshDir(env));
  } catch (error) {
    // Nobody reads the stderr of a daemon that a connection started.
    log('error', 'daemon failed', { why: error instanceof Error ? error.message : String(error) });
    throw error;
  }
}

/** A bad setting is told to every caller, whose settings it is among; a daemon has to be there for that. */
function settingsOrDefaults(sources: SettingSources): { settings: Settings; problem?: KeyholeError } {
  try {
    return { settings: loadSettings(sources) };
  } catch (error) {
    if (!(error instanceof KeyholeError)) throw error;
    return { settings: loadSettings({ env: {}, file: undefined }), problem: error };
  }
}
