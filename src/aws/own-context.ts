// The AWS context of a process that has its settings itself: `proxy --no-daemon`.
import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import { type AwsContext, contextOf } from './context.ts';
import { resolveAws } from './resolve.ts';

export interface AwsOptions {
  /** Wins over the environment; may be in lower case (profile.ts). */
  profile?: string | undefined;
  /** Wins over the environment and the profile. */
  region?: string | undefined;
  clock: Clock;
  log: Log;
}

/** From the AWS settings of this process. @throws as resolveAws and contextOf */
export async function openAws({ profile, region, clock, log }: AwsOptions): Promise<AwsContext> {
  const { resolution, refresh } = await resolveAws({ profile, region });
  return await contextOf(resolution, { id: 'process', clock, log, refresh });
}
