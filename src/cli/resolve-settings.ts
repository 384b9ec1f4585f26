// The AWS settings of the helper's caller, for the daemon, which has none of its own. Loaded are as few things as possible:
// ssh waits for the helper.
import { KeyholeError } from '../errors.ts';
import { askOwnProcess, type Surroundings } from '../own-process.ts';
import { resolveArguments, type WantedSettings } from './resolve-arguments.ts';

/**
 * Finds them here where they stand in the environment and the shared files, and else by a child, which asks whom it has to.
 * @param surroundings those of this process
 * @param onAsksPerson the child asks at the terminal
 * @throws ConfigError as resolveAws; as askOwnProcess
 */
export async function resolveSettings(
  wanted: WantedSettings,
  surroundings: Surroundings,
  signal: AbortSignal,
  onAsksPerson: () => void,
): Promise<Record<string, unknown>> {
  return (
    (await findFixed(wanted)) ?? (await askOwnProcess(resolveArguments(wanted), surroundings, signal, onAsksPerson))
  );
}

async function findFixed({ profile, region }: WantedSettings): Promise<Record<string, unknown> | undefined> {
  const [{ resolveFixed }, { serializeResolution }] = await Promise.all([
    import('../aws/resolve.ts'),
    import('../aws/resolution.ts'),
  ]);
  try {
    const fixed = await resolveFixed({ profile: text(profile), region: text(region) });
    return fixed && serializeResolution(fixed);
  } catch (error) {
    if (error instanceof KeyholeError) throw error;
    return undefined; // a working directory that is gone, for one: the child starts elsewhere
  }
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
