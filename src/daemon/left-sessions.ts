// Ends the sessions that a killed daemon left at AWS, wherever the settings to do so can be found again; the others are
// listed by `status` until AWS ends them for idleness.
import type { AwsContext } from '../aws/context.ts';
import { KeyholeError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { LedgerEntry, SessionLedger } from './session-ledger.ts';

type Surroundings = NonNullable<LedgerEntry['surroundings']>;

export class LeftSessions {
  readonly #ledger: SessionLedger;
  readonly #log: Log;
  readonly #entries: Set<LedgerEntry>;
  readonly #ending = new Set<LedgerEntry>();

  /** @param ledger before this daemon's first session */
  constructor(ledger: SessionLedger, log: Log) {
    this.#ledger = ledger;
    this.#log = log;
    this.#entries = new Set(ledger.entries());
  }

  list(): LedgerEntry[] {
    return [...this.#entries];
  }

  /** @param open finds AWS settings again. Never rejects. */
  async endAll(open: (surroundings: Surroundings) => Promise<AwsContext>): Promise<void> {
    const contexts = new Map<string, Promise<AwsContext>>();
    await Promise.all(
      this.list().map(async (entry) => {
        const { surroundings } = entry;
        if (surroundings === undefined) return;
        const context = contexts.get(entry.context) ?? open(surroundings);
        contexts.set(entry.context, context);
        await this.#end(entry, context);
      }),
    );
  }

  /** Those that a caller's settings, which have just been found, can end. Never rejects. */
  async endOf(context: AwsContext): Promise<void> {
    const entries = this.list().filter((entry) => entry.context === context.id);
    await Promise.all(entries.map((entry) => this.#end(entry, Promise.resolve(context))));
  }

  async #end(entry: LedgerEntry, context: Promise<AwsContext>): Promise<void> {
    try {
      const { ssm } = await context;
      if (this.#ending.has(entry) || !this.#entries.has(entry)) return;
      this.#ending.add(entry);
      await ssm.terminateSession(entry.sessionId).catch((error) => {
        // Ended already, by AWS or because its target did.
        if (!(error instanceof KeyholeError) || error.code !== 'session-gone') throw error;
      });
      this.#entries.delete(entry);
      this.#ledger.end(entry.sessionId);
      this.#log('info', 'session of a killed daemon ended', { session: entry.sessionId });
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.#log('info', 'session of a killed daemon not ended', { session: entry.sessionId, why });
    } finally {
      this.#ending.delete(entry);
    }
  }
}

/** What was killed could not say so itself; once for each session. */
export function tellOfKilled(
  ledger: SessionLedger,
  record: (where: { host: string; port: string }, error: KeyholeError) => void,
): void {
  for (const entry of ledger.entries().filter(({ isTold }) => !isTold)) {
    const { target } = entry;
    const message = `the process of keyhole that had a session to ${target} ended without ending it`;
    const hint = 'it was killed, by hand or for want of memory; `keyhole daemon logs` shows what the daemon did last';
    record({ host: target, port: '' }, new KeyholeError('killed', message, { hint }));
    ledger.start({ ...entry, isTold: true });
  }
}
