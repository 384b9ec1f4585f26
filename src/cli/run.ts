// argv in, exit status out. Picks the verb and holds what is the same for all of them: signals, the one place where
// errors are shown, and the end that comes in any case. Loads only what the verb needs: ssh waits for `proxy`.
import { KeyholeError, UsageError } from '../errors.ts';
import { version } from '../version.ts';
import { useCompileCache } from './compile-cache.ts';
import { ownPaths, rememberRuntimeDir } from './own-paths.ts';
import { muteLibraries, Terminal } from './terminal.ts';

/** What a verb gets from its process. */
export interface VerbContext {
  terminal: Terminal;
  env: NodeJS.ProcessEnv;
  /** Aborted with a KeyholeError when the process was told to go, or met an error that belongs to nobody. */
  signal: AbortSignal;
  /** Whether code from the build is used (part.ts); where not, V8's compile cache is worth having. */
  isCompiled: boolean;
}

/** Whoever sent a signal has been promised that we are gone within 3 s. */
const goneWithinMs = 2_950;

export async function run(argv: string[], env: NodeJS.ProcessEnv, isCompiled: boolean): Promise<0 | 1 | 2> {
  const terminal = new Terminal();
  muteLibraries();
  const stop = stopSignal();
  const late = overdue(stop);
  try {
    await Promise.race([runVerb(argv, { terminal, env, signal: stop, isCompiled }), late]);
    await Promise.race([terminal.shown(), late]);
    return 0;
  } catch (error) {
    await Promise.race([terminal.shown(), late]).catch(() => {}); // the verb's own error counts
    return terminal.fail(error);
  }
}

async function runVerb([verb, ...args]: string[], context: VerbContext): Promise<void> {
  if (verb === '--version' && args.length === 0) return context.terminal.print(version);
  if (verb === 'proxy' && !args.some((arg) => arg === '--help' || arg === '-h')) {
    const { proxy } = await import('./proxy.ts');
    return proxy(args, context);
  }
  // `setup` looks at what was there before keyhole, and `setup --remove` leaves nothing; install.sh comes before it.
  const leavesNothing = verb === 'setup' || verb === 'completion';
  if (!context.isCompiled && !leavesNothing) useCompileCache(ownPaths(context.env).compileCacheDir);
  rememberRuntimeDir(context.env);
  if (verb === 'daemon' && args[0] === 'run' && args.slice(1).every((arg) => arg === '--private')) {
    // As a connection starts it: nothing to explain, and somebody waits.
    const { daemonRun } = await import('./daemon-run.ts');
    return daemonRun({ isPrivate: args.length > 1 }, context);
  }
  if (verb === 'resolve-aws') {
    const { printAwsSettings } = await import('./resolve-aws.ts');
    return printAwsSettings(args, context);
  }
  if (verb === undefined) throw new UsageError('bad-usage', 'no verb is given', { hint: 'keyhole --help lists them' });
  const { runByYargs } = await import('./usage.ts');
  return runByYargs([verb, ...args], context);
}

function stopSignal(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGHUP', 'SIGTERM', 'SIGINT'] as const) {
    process.on(name, () => controller.abort(new KeyholeError('interrupted', `ended by ${name}`)));
  }
  process.on('uncaughtException', (error) => controller.abort(error));
  return controller.signal;
}

function overdue(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => setTimeout(() => reject(signal.reason), goneWithinMs), { once: true });
  });
}
