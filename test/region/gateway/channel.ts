// The data channel of one session as the gateway has it: the client's leg, which comes and goes, joined with the
// agent's, which is there from the start. Messages are forwarded whole and unread; the gateway's own are
// start_publication, pause_publication and channel_closed (protocol.md 3.2, 4.5, 6.1).
import type { Timer } from '../../../src/clock.ts';
import type { AgentLeg } from '../agent/agent.ts';
import type { GatewaySettings } from '../options.ts';
import type { Session, SessionTable } from '../sessions.ts';
import type { ClientLeg } from './client-leg.ts';
import { type AgentCut, agentCutMs, agentNoticesMs, type Cut, type Faults, type Random } from './faults.ts';
import { Link } from './link.ts';
import { channelClosed, publication } from './service-message.ts';

/** How long a client may keep its leg after channel_closed, and the agent may take to end when it is told to. */
const lingerMs = 5_000;
/** Input in the sense of the idle timeout begins so; acknowledgements do not count. */
const inputStreamData = Buffer.from('input_stream_data');

export class Channel {
  readonly session: Session;
  /** Once: the session and both legs are over. */
  onDone: () => void = () => {};
  readonly #agent: AgentLeg;
  readonly #table: SessionTable;
  readonly #settings: GatewaySettings;
  readonly #faults: Faults;
  readonly #ownAwayMessages: number | undefined;
  readonly #up: Link;
  readonly #down: Link;
  #client: ClientLeg | undefined;
  #away: Buffer[] = [];
  /** While the agent's leg is cut: what waits for it. */
  #agentAway: { timers: Timer[]; held: Buffer[]; room: number } | undefined;
  #lifetime: Timer | undefined;
  #linger: Timer | undefined;
  #agentEnded = false;

  constructor(
    session: Session,
    agent: AgentLeg,
    given: { table: SessionTable; settings: GatewaySettings; faults: Faults; awayMessages?: number; random: Random },
  ) {
    this.session = session;
    this.#agent = agent;
    this.#table = given.table;
    this.#settings = given.settings;
    this.#faults = given.faults;
    this.#ownAwayMessages = given.awayMessages;
    const { clock } = given.table;
    this.#up = new Link(given.faults.up, given.random, clock, (message) => this.#toAgent(message));
    this.#down = new Link(given.faults.down, given.random, clock, (message) => this.#toClient(message));
    this.#up.onDrain = () => this.#client?.resume();
    this.#down.onDrain = () => {
      if (this.#agentAway === undefined) agent.resume();
    };
    agent.onDrain = () => this.#up.resume();
    agent.onMessage = (message) => this.#fromAgent(message);
    agent.onEnd = ({ output }) => this.#onAgentEnd(output);
    session.onEnd = (_cause, output) => this.#onSessionEnd(output);
  }

  /** OpenDataChannel was accepted: `client` replaces the leg before it. */
  open(client: ClientLeg): void {
    const before = this.#client;
    this.#client = undefined;
    before?.close(1000, 'Replaced by a newer leg');
    this.#client = client;
    this.session.connected = true;
    client.onMessage = (message) => this.#fromClient(client, message);
    client.onDrain = () => this.#down.resume();
    client.onClose = () => this.#onClientClose(client);
    this.#lifetime?.cancel();
    // About hourly, session alive (protocol.md 2.1).
    this.#lifetime = this.#table.clock.after(this.#settings.legLifetimeMs, () => client.close(1000, 'Bye'));
    const now = this.#table.serviceTime();
    client.send(publication(this.#agentAway === undefined ? 'start_publication' : 'pause_publication', now));
    this.#up.pushInOrder(publication('start_publication', now));
    for (const message of this.#away.splice(0)) client.send(message);
    this.#down.resume();
  }

  /** Cuts the client's leg, if there is one. */
  cut(cut: Cut): void {
    this.#client?.cut(cut);
  }

  /** Cuts the agent's leg, unless it is cut or over. Either side is paused while the other is away (protocol.md 4.5). */
  cutAgent({ ms = agentCutMs, meanwhile = 'buffer' }: AgentCut): void {
    if (this.#agentEnded || this.#agentAway !== undefined) return;
    const { clock } = this.#table;
    const timers = [clock.after(ms, () => this.#agentBack())];
    // What was on its way is lost; then it notices, and stops.
    if (ms > agentNoticesMs) timers.push(clock.after(agentNoticesMs, () => this.#agent.pause()));
    this.#agentAway = { timers, held: [], room: meanwhile === 'buffer' ? this.#awayMessages : 0 };
    this.#client?.send(publication('pause_publication', this.#table.serviceTime()));
  }

  /** The region stops: everything ends without a word. */
  destroy(): void {
    this.#lifetime?.cancel();
    this.#linger?.cancel();
    for (const timer of this.#agentAway?.timers ?? []) timer.cancel();
    this.#up.close();
    this.#down.close();
    this.#client?.destroy();
    this.#agentEnded = true;
    this.#agent.close();
    this.onDone();
  }

  get #awayMessages(): number {
    return this.#ownAwayMessages ?? this.#settings.awayMessages;
  }

  #fromClient(client: ClientLeg, message: Buffer): void {
    if (client !== this.#client) return;
    count(this.session.traffic.up, message);
    if (message.length > this.#faults.up.maxMessageBytes) {
      client.cut(this.#faults.oversizeCut === 1009 ? { by: 'close', code: 1009 } : { by: 'reset' });
      return;
    }
    if (message.subarray(4, 4 + inputStreamData.length).equals(inputStreamData)) this.session.touch();
    if (!this.#up.push(message)) client.pause();
  }

  #fromAgent(message: Buffer): void {
    if (this.#agentAway !== undefined) return; // It could not send it, and will again.
    count(this.session.traffic.down, message);
    if (message.length > this.#faults.down.maxMessageBytes) return;
    if (!this.#down.push(message)) this.#agent.pause();
  }

  #toAgent(message: Buffer): boolean {
    if (this.#agentAway === undefined) return this.#agentEnded || this.#agent.send(message);
    const { held, room } = this.#agentAway;
    if (held.length < room) held.push(message);
    return true;
  }

  #agentBack(): void {
    const held = this.#agentAway?.held ?? [];
    this.#agentAway = undefined;
    if (this.#agentEnded) return;
    const now = this.#table.serviceTime();
    this.#agent.resume();
    for (const message of held) this.#agent.send(message);
    // Its new leg begins without a pause.
    this.#agent.send(publication(this.#client === undefined ? 'pause_publication' : 'start_publication', now));
    this.#client?.send(publication('start_publication', now));
  }

  #toClient(message: Buffer): boolean {
    if (this.#client !== undefined) return this.#client.send(message);
    if (this.#away.length < this.#awayMessages) this.#away.push(message);
    return true;
  }

  #onClientClose(client: ClientLeg): void {
    if (client !== this.#client) return;
    this.#client = undefined;
    this.session.connected = false;
    this.#lifetime?.cancel();
    if (this.session.active) this.#up.pushInOrder(publication('pause_publication', this.#table.serviceTime()));
    else this.destroy();
    this.#down.resume();
  }

  #onAgentEnd(output: string): void {
    this.#agentEnded = true;
    this.session.end('agent', output);
    this.#finish(output);
  }

  /** The session left Active. Where the agent did not end it, the agent is told, and its end finishes the channel. */
  #onSessionEnd(output: string): void {
    if (this.#agentEnded) return;
    this.#linger = this.#table.clock.after(lingerMs, () => this.#finish(output));
    this.#agent.cancel(output);
  }

  #finish(output: string): void {
    this.#linger?.cancel();
    for (const timer of this.#agentAway?.timers ?? []) timer.cancel();
    const { sessionId } = this.session;
    const closed = channelClosed(sessionId, output, this.#table.serviceTime(), this.#settings.channelClosedHeader);
    this.#up.close();
    if (this.#client === undefined) {
      this.destroy();
      return;
    }
    this.#down.pushInOrder(closed);
    this.#linger = this.#table.clock.after(lingerMs, () => this.#client?.close(1000));
  }
}

function count(traffic: { messages: number; bytes: number }, message: Buffer): void {
  traffic.messages += 1;
  traffic.bytes += message.length;
}
