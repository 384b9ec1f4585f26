// The AWS context of a process that has its settings itself: `proxy --no-daemon`.
import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import { type AwsContext, contextOf } from './context.ts';
import type { MfaCode } from './credentials.ts';
import { resolveAws } from './resolve.ts';

export interface AwsOptions {
  /** Names the settings, without telling them; for whoever compares contexts. */
  id?: string;
  /** Wins over the environment; may be in lower case (profile.ts). */
  profile?: string | undefined;
  /** Wins over the environment and the profile. */
  region?: string | undefined;
  /** Gets the code that a role may want; without it such a role is an error. */
  mfaCode?: MfaCode;
  clock: Clock;
  log: Log;
}

/** From the AWS settings of this process. @throws as resolveAws and contextOf */
export async function openAws({
  id = 'process',
  profile,
  region,
  mfaCode,
  clock,
  log,
}: AwsOptions): Promise<AwsContext> {
  const { resolution, refresh } = await resolveAws({ profile, region }, mfaCode);
  return await contextOf(resolution, { id, clock, log, refresh });
}
