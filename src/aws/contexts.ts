// The AWS contexts of a daemon: one per caller's settings, never one caller's with another's credentials. How settings are
// found out is the caller's side of the bargain (`ask`) at first, and a child in the caller's surroundings at a refresh.
import type { Clock } from '../clock.ts';
import { KeyholeError } from '../errors.ts';
import type { Log } from '../log.ts';
import { type CallerSurroundings, sharedFilesStamp, surroundingsKey, type WantedSettings } from './caller.ts';
import { type AwsContext, contextOf } from './context.ts';
import { parseResolution, type Resolution } from './resolution.ts';
import { StartQueue } from './start-queue.ts';

export interface ContextsOptions {
  clock: Clock;
  log: Log;
  /** Asks a child in the caller's surroundings (no terminal). @throws KeyholeError */
  resolve(caller: CallerSurroundings, wanted: WantedSettings, signal?: AbortSignal): Promise<Record<string, unknown>>;
  startSessionsPerSecond: number;
  /** A caller's settings have just been found. */
  onOpened(context: AwsContext): void;
}

interface Entry {
  context: AwsContext;
  stamp: string;
  resolution: Resolution;
  usedAt: number;
}

/** Credentials that end sooner are asked for again, where the caller's terminal is. */
const minCredentialLifeMs = 60_000;
/** Settings that nobody used for so long are forgotten, with their secrets. */
const forgetAfterMs = 3_600_000;
const maxContexts = 64;

export class AwsContexts {
  readonly #options: ContextsOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #asking = new Map<string, Promise<Entry>>();
  readonly #queues = new Map<string, StartQueue>();

  constructor(options: ContextsOptions) {
    this.#options = options;
  }

  /**
   * The context for a caller's settings. `ask` gets them from the caller, where they are not known, have changed on
   * disk, or end soon; of callers that come together with the same settings, one is asked.
   */
  async open(
    caller: CallerSurroundings,
    wanted: WantedSettings,
    ask: () => Promise<Record<string, unknown>>,
  ): Promise<AwsContext> {
    const id = surroundingsKey(caller, wanted);
    this.#forgetOld();
    for (;;) {
      const entry = this.#current(id, caller);
      if (entry !== undefined) return entry.context;
      const asking = this.#asking.get(id);
      if (asking === undefined) return (await this.#ask(id, caller, wanted, ask)).context;
      // Its caller may have gone away; then it is the next one's turn.
      await asking.catch((error: unknown) => {
        if (!(error instanceof KeyholeError) || error.code !== 'control-closed') throw error;
      });
    }
  }

  close(): void {
    for (const { context } of this.#entries.values()) context.close();
    this.#entries.clear();
  }

  #current(id: string, caller: CallerSurroundings): Entry | undefined {
    const entry = this.#entries.get(id);
    if (entry === undefined || entry.stamp !== sharedFilesStamp(caller)) return undefined;
    const { expiration } = entry.resolution.credentials;
    const { clock } = this.#options;
    if (expiration !== undefined && expiration.getTime() - clock.wallTime() < minCredentialLifeMs) return undefined;
    entry.usedAt = clock.now();
    return entry;
  }

  async #ask(
    id: string,
    caller: CallerSurroundings,
    wanted: WantedSettings,
    ask: () => Promise<Record<string, unknown>>,
  ): Promise<Entry> {
    const asking = this.#make(id, caller, wanted, ask);
    this.#asking.set(id, asking);
    try {
      return await asking;
    } finally {
      this.#asking.delete(id);
    }
  }

  async #make(
    id: string,
    caller: CallerSurroundings,
    wanted: WantedSettings,
    ask: () => Promise<Record<string, unknown>>,
  ): Promise<Entry> {
    // Before the answer: a change in between is noticed the next time.
    const stamp = sharedFilesStamp(caller);
    const resolution = parseResolution(await ask());
    const { clock, log } = this.#options;
    const context = await contextOf(resolution, {
      id,
      clock,
      log,
      startQueue: this.#queue(id, resolution.region),
      refresh: async () => parseResolution(await this.#options.resolve(caller, wanted)).credentials,
    });
    const entry: Entry = { context, stamp, resolution, usedAt: clock.now() };
    // A context that is replaced stays with the tunnels that have it: they end their sessions with it.
    this.#entries.set(id, entry);
    log('info', 'aws settings resolved', {
      context: id.slice(0, 8),
      profile: resolution.profile,
      region: resolution.region,
    });
    this.#options.onOpened(context);
    return entry;
  }

  /** The quota belongs to account and region. Which account a context has is not known; its settings stand for it. */
  #queue(id: string, region: string): StartQueue {
    const name = `${id} ${region}`;
    const known = this.#queues.get(name);
    if (known !== undefined) return known;
    const queue = new StartQueue(this.#options.clock, this.#options.startSessionsPerSecond);
    this.#queues.set(name, queue);
    return queue;
  }

  #forgetOld(): void {
    const now = this.#options.clock.now();
    const byAge = [...this.#entries].sort(([, a], [, b]) => a.usedAt - b.usedAt);
    for (const [id, { usedAt }] of byAge) {
      if (now - usedAt < forgetAfterMs && this.#entries.size < maxContexts) return;
      this.#entries.delete(id);
    }
  }
}
