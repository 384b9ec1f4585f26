// Ends the sessions that a killed daemon left at AWS, wherever the settings to do so can be found again; the others are
// listed by `status` until AWS ends them for idleness.
import type { AwsContext } from '../aws/context.ts';
import type { Log } from '../log.ts';
import type { LedgerEntry, SessionLedger } from './session-ledger.ts';

export class LeftSessions {
  readonly #ledger: SessionLedger;
  readonly #log: Log;
  #entries: LedgerEntry[];

  /** @param ledger as it was read from disk, before this daemon's first session */
  constructor(ledger: SessionLedger, log: Log) {
    this.#ledger = ledger;
    this.#log = log;
    this.#entries = ledger.entries();
  }

  list(): LedgerEntry[] {
    return this.#entries;
  }

  /** @param open finds the AWS settings of an entry again. Never rejects. */
  async endAll(open: (entry: LedgerEntry) => Promise<AwsContext>): Promise<void> {
    const contexts = new Map<string, Promise<AwsContext>>();
    await Promise.all(
      this.list().map(async (entry) => {
        const context = contexts.get(entry.context) ?? open(entry);
        contexts.set(entry.context, context);
        try {
          await this.#end(entry, await context);
        } catch (error) {
          this.#log('info', 'session of a killed daemon not ended', { session: entry.sessionId, why: String(error) });
        }
      }),
    );
  }

  /** Those that a caller's settings, which have just been found, can end. Never rejects. */
  async endOf(context: AwsContext): Promise<void> {
    await Promise.all(
      this.list()
        .filter((entry) => entry.context === context.id)
        .map((entry) => this.#end(entry, context).catch(() => {})),
    );
  }

  async #end(entry: LedgerEntry, context: AwsContext): Promise<void> {
    await context.ssm.terminateSession(entry.sessionId);
    this.#entries = this.#entries.filter((other) => other !== entry);
    this.#ledger.end(entry.sessionId);
    this.#log('info', 'session of a killed daemon ended', { session: entry.sessionId });
  }
}
