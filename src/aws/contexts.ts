// The AWS contexts of a daemon: one per caller's settings, never one caller's with another's credentials. How settings are
// found out is the caller's side of the bargain (`ask`) at first, and a child in the caller's surroundings at a refresh.
import type { Clock } from '../clock.ts';
import { KeyholeError, ProtocolError } from '../errors.ts';
import type { Log } from '../log.ts';
import { accountOf } from './account.ts';
import { resumeQueue, startQueue } from './call-queue.ts';
import {
  type CallerSurroundings,
  loginFilesStamp,
  sharedFilesStamp,
  surroundingsKey,
  type WantedSettings,
  wholeSurroundingsKey,
} from './caller.ts';
import type { AwsContext } from './context.ts';
import { Renewal } from './renewal.ts';
import { parseResolution, type Resolution } from './resolution.ts';
import type { Credentials } from './ssm-api.ts';
import type { CallQueues } from './ssm-client.ts';

export interface ContextsOptions {
  clock: Clock;
  log: Log;
  /** Asks a child in the caller's surroundings (no terminal). @throws KeyholeError */
  resolve(caller: CallerSurroundings, wanted: WantedSettings): Promise<Record<string, unknown>>;
  startSessionsPerSecond: number;
  /** ContextOptions.keepReadyMs. */
  keepReadyMs?: number;
  /** A caller's settings have just been found. */
  onOpened(context: AwsContext): void;
}

/** Gets the settings, and says when a person has to be asked for them. */
type Ask = (onAsksPerson: () => void) => Promise<Record<string, unknown>>;

/** A question that is under way, and who waits for its answer. */
interface Asking {
  answer: Promise<Entry>;
  asksPerson: boolean;
  waiting: Set<() => void>;
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
/** Failures to answer that say nothing about what another caller's answer would be. */
const ownFailures = new Set(['control-closed', 'interrupted', 'deadline', 'child-failed']);

export class AwsContexts {
  readonly #options: ContextsOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #asking = new Map<string, Asking>();
  readonly #queues = new Map<string, CallQueues>();

  constructor(options: ContextsOptions) {
    this.#options = options;
  }

  /** Loads the SDK, for whoever comes next. */
  prepare(): void {
    this.#load().catch(() => {}); // told to whoever needs it
  }

  /**
   * The context for a caller's settings. `ask` gets them from the caller, where they are not known, have changed on
   * disk, or end soon; of callers that come together with the same settings, one is asked.
   * @param onAsksPerson a person is being asked, by this caller or another; called once at most for each question
   */
  async open(
    caller: CallerSurroundings,
    wanted: WantedSettings,
    ask: Ask,
    onAsksPerson: () => void = () => {},
  ): Promise<AwsContext> {
    const shared = surroundingsKey(caller, wanted);
    const whole = wholeSurroundingsKey(caller, wanted);
    this.#forgetOld();
    for (;;) {
      const entry = this.#current(shared, caller) ?? this.#current(whole, caller);
      if (entry !== undefined) return entry.context;
      const asking = this.#asking.get(shared);
      if (asking === undefined) return (await this.#ask({ shared, whole }, caller, wanted, ask, onAsksPerson)).context;
      if (asking.asksPerson) onAsksPerson();
      asking.waiting.add(onAsksPerson);
      // If it could not answer, it is the next one's turn.
      await asking.answer.catch((error: unknown) => {
        if (!isOwnFailure(error)) throw error;
      });
    }
  }

  close(): void {
    for (const { context } of this.#entries.values()) context.close();
    this.#entries.clear();
  }

  #load(): Promise<typeof import('./context.ts')> {
    return import('./context.ts');
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
    ids: { shared: string; whole: string },
    caller: CallerSurroundings,
    wanted: WantedSettings,
    ask: Ask,
    onAsksPerson: () => void,
  ): Promise<Entry> {
    const waiting = new Set([onAsksPerson]);
    const tell = () => {
      asking.asksPerson = true;
      for (const told of waiting) told();
    };
    const asking: Asking = { answer: this.#make(ids, caller, wanted, () => ask(tell)), asksPerson: false, waiting };
    this.#asking.set(ids.shared, asking);
    try {
      return await asking.answer;
    } finally {
      this.#asking.delete(ids.shared);
    }
  }

  async #make(
    { shared, whole }: { shared: string; whole: string },
    caller: CallerSurroundings,
    wanted: WantedSettings,
    ask: () => Promise<Record<string, unknown>>,
  ): Promise<Entry> {
    // Before the answer: a change in between is noticed the next time.
    const stamp = sharedFilesStamp(caller);
    const resolution = parseResolution(await ask());
    const { clock, log, keepReadyMs = 0 } = this.#options;
    // What a program of the user's said holds only for who would have asked it the same.
    const id = resolution.asksProgram ? whole : shared;
    const renewal = new Renewal({
      clock,
      ask: async () => parseResolution(await this.#options.resolve(caller, wanted)).credentials,
      newer: () => this.#newerThan(resolution.credentials, id),
      stamp: () => `${sharedFilesStamp(caller)} ${loginFilesStamp(caller)}`,
    });
    const { contextOf } = await this.#load();
    const context = await contextOf(resolution, {
      id,
      clock,
      log,
      keepReadyMs,
      queues: this.#queuesOf(resolution),
      refresh: () => renewal.renew(),
    });
    const entry: Entry = { context, stamp, resolution, usedAt: clock.now() };
    // A context that is replaced stays with the tunnels that have it: they end their sessions with it.
    this.#entries.set(id, entry);
    const { profile, region } = resolution;
    log('info', 'aws settings resolved', { context: id.slice(0, 8), profile, region });
    this.#options.onOpened(context);
    return entry;
  }

  /** What the same settings were found to be since: perhaps the user has answered a question of theirs. */
  #newerThan(first: Credentials, id: string): Credentials | undefined {
    const credentials = this.#entries.get(id)?.resolution.credentials;
    if (credentials === undefined || credentials === first) return undefined;
    const lifeMs = (credentials.expiration?.getTime() ?? Number.POSITIVE_INFINITY) - this.#options.clock.wallTime();
    return lifeMs < minCredentialLifeMs ? undefined : credentials;
  }

  /** Quotas belong to account and region. */
  #queuesOf({ credentials, region }: Resolution): CallQueues {
    const name = `${accountOf(credentials.accessKeyId)} ${region}`;
    const known = this.#queues.get(name);
    if (known !== undefined) return known;
    const { clock, startSessionsPerSecond } = this.#options;
    const queues = { start: startQueue(clock, startSessionsPerSecond), resume: resumeQueue(clock) };
    this.#queues.set(name, queues);
    return queues;
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

function isOwnFailure(error: unknown): boolean {
  return error instanceof ProtocolError || (error instanceof KeyholeError && ownFailures.has(error.code));
}
