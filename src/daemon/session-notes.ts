// What the ledger is told of the sessions that are started for a caller.
import { type CallerSurroundings, settingsWithoutSecrets } from '../aws/caller.ts';
import type { AwsContext } from '../aws/context.ts';
import type { SessionNotes } from '../ssm/session.ts';
import type { Host } from '../target/host.ts';
import type { SessionLedger } from './session-ledger.ts';

export interface SessionOwner {
  caller: CallerSurroundings;
  aws: AwsContext;
  host: Host;
  /** `i-…` or `mi-…`. */
  target: string;
}

export function notesFor(ledger: SessionLedger, { caller, aws, host, target }: SessionOwner): SessionNotes {
  const { env, cwd } = caller;
  const wanted = { profile: host.profile, region: host.region };
  const kept = settingsWithoutSecrets(env);
  const note = {
    target,
    region: aws.region,
    context: aws.id,
    ...(kept !== undefined && { surroundings: { env: kept, cwd, wanted } }),
  };
  return {
    started: (sessionId) => ledger.start({ sessionId, ...note }),
    ended: (sessionId) => ledger.end(sessionId),
  };
}
