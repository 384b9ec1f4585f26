// Which way a tunnel goes: SSM where it takes the instance, EC2 Instance Connect Endpoint where SSM refuses it. The two are
// never raced, since that would cost a session; what SSM has refused is remembered for some minutes, so that nobody waits
// for it again, and asked again at once when the other way fails. Pure but for the ways it is given.
import type { Clock } from '../clock.ts';
import { ConfigError, KeyholeError, TransportError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Settings } from '../settings.ts';
import { within } from '../within.ts';

export interface Question {
  /** `i-…` or `mi-…`. */
  target: string;
  transport: Settings['transport'];
  /** Names the caller's AWS settings: what one caller is refused another may have. */
  context: string;
}

/** The ways to a target; each throws KeyholeErrors and leaves nothing behind then. */
export interface Ways<Tunnel, Route> {
  bySsm(): Promise<Tunnel>;
  /** Why an endpoint can't lead there, whatever there is in the account. */
  objection(): KeyholeError | undefined;
  findRoute(): Promise<Route>;
  /** Resolves when the target has spoken: before that, an endpoint's yes means nothing (protocol.md 9.3). */
  byEndpoint(route: Route): Promise<Tunnel>;
  /** The tunnel is open: why it goes this way, in words. */
  chosen?(why: string): void;
}

interface Memory<Route> {
  until: number;
  /** Why SSM does not take the instance. */
  refusal: KeyholeError;
  route: Route;
}

const keptMs = 5 * 60_000;
const maxKept = 500;

export class TunnelChoice<Route> {
  readonly #clock: Clock;
  readonly #log: Log;
  /** Instances that SSM has refused and that an endpoint has led to. */
  readonly #known = new Map<string, Memory<Route>>();
  /** Connections that come together find the route once. */
  readonly #finding = new Map<string, Promise<Route>>();

  constructor(clock: Clock, log: Log) {
    this.#clock = clock;
    this.#log = log;
  }

  /** @throws KeyholeError: with both reasons, where both ways were asked. `signal` gives up. */
  async open<Tunnel>(question: Question, ways: Ways<Tunnel, Route>, signal: AbortSignal): Promise<Tunnel> {
    const { target, transport } = question;
    if (transport === 'ssm') return opened(await ways.bySsm(), ways, asked(transport));
    if (transport === 'eice') {
      const objection = ways.objection();
      if (objection !== undefined) throw objection;
      return opened(await ways.byEndpoint(await this.#route(question, ways, signal)), ways, asked(transport));
    }
    if (!target.startsWith('i-')) return opened(await ways.bySsm(), ways, 'SSM alone reaches nodes (mi-…)');
    return (await this.#openKnown(question, ways, signal)) ?? (await this.#openUnknown(question, ways, signal));
  }

  /** By the endpoint that led there before; undefined where that is not known, or does not lead there any more. */
  async #openKnown<Tunnel>(
    question: Question,
    ways: Ways<Tunnel, Route>,
    signal: AbortSignal,
  ): Promise<Tunnel | undefined> {
    const name = nameOf(question);
    const known = this.#known.get(name);
    if (known === undefined || known.until <= this.#clock.now() || ways.objection() !== undefined) return undefined;
    try {
      const tunnel = await ways.byEndpoint(known.route);
      this.#say(question, 'eice', known.refusal);
      return opened(tunnel, ways, known.refusal.message);
    } catch (error) {
      if (this.#known.get(name) === known) this.#known.delete(name);
      if (signal.aborted || !(error instanceof KeyholeError) || error.code === 'no-answer') throw error;
      this.#log('info', 'endpoint fails, asking SSM again', { target: question.target, code: error.code });
      return undefined;
    }
  }

  async #openUnknown<Tunnel>(question: Question, ways: Ways<Tunnel, Route>, signal: AbortSignal): Promise<Tunnel> {
    let refusal: KeyholeError;
    try {
      return opened(await ways.bySsm(), ways, 'SSM takes the instance');
    } catch (error) {
      if (signal.aborted || !isRefusal(error)) throw error;
      refusal = error;
    }
    const objection = ways.objection();
    if (objection !== undefined) throw bothFailed(refusal, objection);
    let route: Route | undefined;
    let tunnel: Tunnel;
    try {
      route = await this.#route(question, ways, signal);
      tunnel = await ways.byEndpoint(route);
    } catch (error) {
      if (signal.aborted) throw isOverdue(error) ? bothFailed(error, refusal) : error;
      if (isNotRunning(error)) throw error;
      // What AWS said last about a way that is there tells more than why SSM is not.
      throw route === undefined ? bothFailed(refusal, error) : bothFailed(error, refusal);
    }
    this.#remember(nameOf(question), { until: this.#clock.now() + keptMs, refusal, route });
    this.#say(question, 'eice', refusal);
    return opened(tunnel, ways, refusal.message);
  }

  /** Not given up with the first caller: the others wait for it too. */
  async #route<Tunnel>(question: Question, ways: Ways<Tunnel, Route>, signal: AbortSignal): Promise<Route> {
    const name = nameOf(question);
    let finding = this.#finding.get(name);
    if (finding === undefined) {
      finding = ways.findRoute().finally(() => this.#finding.delete(name));
      this.#finding.set(name, finding);
    }
    return await within(signal, finding);
  }

  #remember(name: string, memory: Memory<Route>): void {
    this.#known.delete(name); // the newest is the last
    this.#known.set(name, memory);
    if (this.#known.size > maxKept) this.#known.delete(this.#known.keys().next().value!);
  }

  #say({ target }: Question, transport: string, refusal: KeyholeError): void {
    this.#log('info', 'transport chosen', { target, transport, why: refusal.message });
  }
}

function asked(transport: Question['transport']): string {
  return `asked for: transport = ${transport}`;
}

function opened<Tunnel>(tunnel: Tunnel, ways: Pick<Ways<Tunnel, never>, 'chosen'>, why: string): Tunnel {
  ways.chosen?.(why);
  return tunnel;
}

function nameOf({ context, target }: Question): string {
  return `${context} ${target}`;
}

/** Whether SSM said no for a reason that does not concern the other way. */
function isRefusal(error: unknown): error is KeyholeError {
  if (!(error instanceof KeyholeError)) return false;
  return (
    error.code === 'target-not-connected' || error.code === 'document-unknown' || error.code.startsWith('access-denied')
  );
}

/** It says it all: SSM's reason is the same. */
function isNotRunning(error: unknown): boolean {
  return error instanceof KeyholeError && (error.code === 'instance-stopped' || error.code === 'instance-pending');
}

/** Whoever waited is still there to be told. */
function isOverdue(error: unknown): boolean {
  return error instanceof KeyholeError && error.code === 'deadline';
}

/** The error of one way, with what stood in the way of the other. */
function bothFailed(main: unknown, other: unknown): unknown {
  for (const error of [main, other]) {
    if (!(error instanceof KeyholeError) || error instanceof ConfigError) return error;
  }
  const { code, message, hint } = main as KeyholeError;
  return new TransportError(code, `${message}; the other way is closed too: ${(other as KeyholeError).message}`, {
    ...(hint !== undefined && { hint }),
    cause: main,
  });
}
