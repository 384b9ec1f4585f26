// One run: the client's DataChannel and the agent's channel (test/region/agent), joined by two faulty links, between a
// writer and reader on one side and a port on the other, in virtual time. Everything follows from the seed.
// It ends with an outcome, or throws Violation as soon as a law of the stream is broken.
import type { ChannelEvent, DataChannel } from '../../src/ssm/channel.ts';
import { MessageType, PayloadType, parseMessage } from '../../src/ssm/message.ts';
import { type AgentAction, AgentChannel, maxPayloadBytes as maxReadBytes } from '../region/agent/channel.ts';
import { judge, type Verdict } from './judge.ts';
import { Link } from './link.ts';
import { damageForAgent, damageForClient, describe, garbage, outputNumber, serviceMessage } from './messages.ts';
import { Port } from './port.ts';
import { Random } from './random.ts';
import type { Scenario } from './scenarios.ts';

/** What the simulation needs of a client; a wrong one must be caught (sim.test.ts). */
export type Client = Pick<
  DataChannel,
  'receive' | 'write' | 'terminate' | 'next' | 'deadline' | 'reconnected' | 'backlogBytes'
>;

export interface ClientOptions {
  epoch: number;
  uuid(): string;
  maxPayloadBytes: number;
  windowMessages: number;
  windowBytes: number;
  maxAheadMessages: number;
}

export type MakeClient = (options: ClientOptions) => Client;

export interface Outcome extends Verdict {
  virtualMs: number;
}

/** A law was broken. The message says which, and when. */
export class Violation extends Error {}

export interface RunOptions {
  seed: number;
  scenario: Scenario;
  makeClient: MakeClient;
  trace?: (line: string) => void;
}

export function run(options: RunOptions): Outcome {
  return new World(options).run();
}

/** Steps without time moving on before the run is a live-lock. */
const maxStepsAtOnce = 100_000;
const epoch = Date.UTC(2026, 0, 1);
/** A writer waits while the client holds this much (as the transport does). */
const maxBacklogBytes = 128 * 1024;

interface Appointment {
  at: number;
  keep: () => void;
}

class World {
  readonly #scenario: Scenario;
  readonly #trace: (line: string) => void;
  readonly #random: Random;
  readonly #client: Client;
  readonly #agent: AgentChannel;
  readonly #up: Link;
  readonly #down: Link;
  readonly #port: Port;
  #now = 0;
  #idleLooks = 0;
  #appointments: Appointment[] = [];
  #clientUp = true;
  /** The client's process does not run until then. */
  #asleepUntil = 0;
  #agentUp = true;
  #agentInbox: Buffer[] = [];
  readonly #upward: Buffer;
  readonly #downward: Buffer;
  #written = 0;
  #received = 0;
  #opened = false;
  #handshakeComplete = false;
  /** Numbers of the agent's messages that the client got, behind the first one that it did not. */
  readonly #ahead = new Set<number>();
  #firstMissing = 0;
  #agentEnd: Extract<AgentAction, { type: 'ended' }> | undefined;
  #closed: Extract<ChannelEvent, { type: 'closed' }> | undefined;

  constructor({ seed, scenario, makeClient, trace = () => {} }: RunOptions) {
    this.#scenario = scenario;
    this.#trace = trace;
    this.#random = new Random(seed, 'world');
    this.#upward = new Random(seed, 'upward').bytes(scenario.upBytes);
    this.#downward = new Random(seed, 'downward').bytes(scenario.downBytes);
    const uuids = new Random(seed, 'uuid');
    const uuid = () => uuids.uuid();
    const { maxPayloadBytes, windowMessages, windowBytes, maxAheadMessages, agentCapacity } = scenario;
    this.#client = makeClient({ epoch, uuid, maxPayloadBytes, windowMessages, windowBytes, maxAheadMessages });
    this.#agent = new AgentChannel({
      agentVersion: '3.3.1142.0',
      properties: { portNumber: '22' },
      wallTime: () => epoch + Math.floor(this.#now),
      incomingCapacity: agentCapacity,
      newMessageId: uuid,
    });
    this.#up = new Link(new Random(seed, 'up'), scenario.up, damageForAgent);
    this.#down = new Link(new Random(seed, 'down'), scenario.down, damageForClient);
    this.#port = new Port(this.#upward, this.#downward, (law) => this.#violated(law));
  }

  run(): Outcome {
    this.#makeAppointments();
    this.#act(this.#agent.start(this.#now));
    while (this.#closed === undefined) {
      this.#settle();
      if (this.#closed !== undefined) break;
      const next = this.#nextTime();
      if (next === Infinity) this.#violated('nothing is due any more, and the session has not ended');
      this.#now = next;
      if (this.#now > this.#scenario.limitMs) this.#violated(`not ended after ${this.#scenario.limitMs} ms`);
    }
    return this.#judge(this.#closed);
  }

  get #clientRuns(): boolean {
    return this.#clientUp && this.#asleepUntil <= this.#now;
  }

  /** Does what is due now, until nothing is. */
  #settle(): void {
    for (let steps = 0; this.#step(); steps++) {
      if (steps > maxStepsAtOnce) this.#violated('live-lock: time does not move on');
      if (this.#closed !== undefined) return;
    }
  }

  #step(): boolean {
    const now = this.#now;
    const appointment = this.#appointments[0];
    if (appointment !== undefined && appointment.at <= now) {
      this.#appointments.shift();
      appointment.keep();
      return true;
    }
    const forClient = this.#clientRuns ? this.#down.take(now) : undefined;
    if (forClient !== undefined) {
      this.#clientReceives(forClient);
      return true;
    }
    if (this.#clientSends()) return true;
    const arrived = this.#up.take(now);
    if (arrived !== undefined) this.#agentInbox.push(arrived);
    if (!this.#agent.blocked && this.#agentInbox.length > 0) {
      this.#act(this.#agent.receive(this.#agentInbox.shift()!, now));
      return true;
    }
    if (arrived !== undefined) return true;
    if ((this.#agent.deadline() ?? Infinity) <= now) {
      this.#act(this.#agent.tick(now));
      return true;
    }
    return this.#agentReads();
  }

  #nextTime(): number {
    const readAt = this.#port.readable ? (this.#agent.readAt() ?? Infinity) : Infinity;
    const clientAt = this.#clientRuns ? (this.#client.deadline(this.#now) ?? Infinity) : Infinity;
    // Rounding may need one more look; a deadline that stays due while next() has nothing makes a busy loop.
    this.#idleLooks = clientAt <= this.#now ? this.#idleLooks + 1 : 0;
    if (this.#idleLooks > 3) this.#violated('deadline() is due, but next() has nothing');
    return Math.min(
      this.#appointments[0]?.at ?? Infinity,
      this.#clientRuns ? this.#down.nextAt() : Infinity,
      this.#asleepUntil > this.#now ? this.#asleepUntil : Infinity,
      this.#up.nextAt(),
      Math.max(clientAt, this.#now + 0.01),
      Math.max(this.#agent.deadline() ?? Infinity, this.#now + 0.01),
      Math.max(readAt, this.#now + 0.01),
    );
  }

  #clientSends(): boolean {
    if (!this.#clientRuns) return false;
    const message = this.#client.next(this.#now);
    if (message === undefined) return false;
    const { messageType, payloadType } = parseMessage(message);
    if (messageType === MessageType.inputStreamData && payloadType !== PayloadType.handshakeResponse && !this.#opened) {
      this.#violated('the client sent data before HandshakeComplete');
    }
    if (message.length > this.#scenario.maxMessageBytes) {
      this.#note(() => `client → ${describe(message)}: refused by the gateway`);
      this.#cutClient(this.#random.between(10, 500), this.#random.pick([1009, 1006]));
      return true;
    }
    const fate = this.#up.send(message, this.#now);
    this.#note(() => `client → ${describe(message)}: ${fate}`);
    return true;
  }

  #clientReceives(message: Buffer): void {
    this.#note(() => `client ← ${describe(message)}`);
    const events = this.#client.receive(message, this.#now);
    this.#noteDelivery(outputNumber(message));
    for (const event of events) this.#take(event);
  }

  #noteDelivery(sequenceNumber: number | undefined): void {
    if (sequenceNumber === undefined || sequenceNumber < this.#firstMissing) return;
    // Dropped as if it had been lost.
    if (sequenceNumber - this.#firstMissing > this.#scenario.maxAheadMessages) return;
    this.#ahead.add(sequenceNumber);
    while (this.#ahead.delete(this.#firstMissing)) this.#firstMissing++;
  }

  #take(event: ChannelEvent): void {
    switch (event.type) {
      case 'opened':
        if (this.#opened) this.#violated('opened twice');
        if (!this.#handshakeComplete) this.#violated('opened before the agent completed the handshake');
        this.#opened = true;
        break;
      case 'output': {
        const expected = this.#downward.subarray(this.#received, this.#received + event.bytes.length);
        if (!expected.equals(event.bytes)) this.#violated(`wrong bytes for the reader at ${this.#received}`);
        this.#received += event.bytes.length;
        break;
      }
      case 'closed':
        this.#closed = event;
        break;
      case 'refused':
        this.#violated(`the client refuses the session: ${event.error.message}`);
        break;
      case 'dropped':
        this.#note(() => `client dropped a message: ${event.why}`);
    }
  }

  #agentReads(): boolean {
    const readAt = this.#agent.readAt();
    if (readAt === undefined || readAt > this.#now || !this.#port.readable) return false;
    const bytes = this.#port.read(maxReadBytes);
    if (bytes === 'eof') this.#act(this.#agent.socketEof(this.#now));
    else this.#act(this.#agent.socketData(bytes, this.#now));
    return true;
  }

  #act(actions: AgentAction[]): void {
    for (const action of actions) {
      switch (action.type) {
        case 'message': {
          const fate = this.#down.send(action.message, this.#now);
          if (parseMessage(action.message).payloadType === PayloadType.handshakeComplete)
            this.#handshakeComplete = true;
          this.#note(() => `agent → ${describe(action.message)}: ${fate}`);
          break;
        }
        case 'dial':
          this.#after(this.#scenario.dialMs, () => {
            const refused = this.#scenario.ending === 'refused';
            this.#note(() => (refused ? 'the port refuses' : 'the port takes the connection'));
            this.#act(refused ? this.#agent.dialFailed(this.#now) : this.#agent.dialled());
          });
          break;
        case 'write':
          this.#after(this.#port.stalledFor(this.#now), () => {
            if (!this.#agent.blocked) return; // Closed since.
            this.#port.write(action.bytes);
            this.#act(this.#agent.written(this.#now));
          });
          break;
        case 'disconnect':
          this.#note(() => 'the agent closes its connection to the port');
          this.#port.disconnected = true;
          break;
        case 'ended':
          this.#agentEnded(action);
      }
    }
  }

  #agentEnded(end: Extract<AgentAction, { type: 'ended' }>): void {
    this.#agentEnd = end;
    this.#note(() => `agent ended: ${end.status} "${end.output}", ${end.unacknowledged} messages not acknowledged`);
    this.#sendChannelClosed(end.output);
  }

  #sendChannelClosed(output: string): void {
    const content = { MessageType: MessageType.channelClosed, Output: output };
    const closed = serviceMessage(this.#random, MessageType.channelClosed, content);
    if (this.#scenario.overtaking) this.#down.overtake(closed, this.#now);
    else this.#down.sendFaithfully(closed, this.#now);
  }

  #makeAppointments(): void {
    const { writeFromMs, speakFromMs, cuts, readerPauses, portStalls, noise, ending, endAtMs } = this.#scenario;
    const { standstills, sleeps, pauses } = this.#scenario;
    this.#after(writeFromMs, () => this.#write());
    this.#after(speakFromMs, () => this.#speak());
    for (const { at, forMs, leg } of cuts) {
      this.#after(at, () => (leg === 'client' ? this.#cutClient(forMs, 1006) : this.#cutAgent(forMs)));
    }
    for (const { at, forMs } of standstills) this.#after(at, () => this.#standStill(at + forMs));
    for (const { at, forMs } of sleeps) this.#after(at, () => this.#sleep(at + forMs));
    for (const { at, forMs } of pauses) this.#after(at, () => this.#pause(forMs));
    for (const { at, forMs } of readerPauses) this.#after(at, () => this.#down.hold(at + forMs));
    for (const { at, forMs } of portStalls) this.#after(at, () => this.#port.stall(at + forMs));
    for (const at of noise) this.#after(at, () => this.#makeNoise());
    if (ending === 'cancelled') this.#after(endAtMs, () => this.#act(this.#agent.cancel('terminated', this.#now)));
    if (ending === 'reset') this.#after(endAtMs, () => this.#reset());
  }

  /** The port's connection breaks, as soon as there is one. */
  #reset(): void {
    if (this.#agentEnd !== undefined) return;
    const actions = this.#agent.socketError(this.#now);
    if (actions.length === 0) this.#after(100, () => this.#reset());
    this.#act(actions);
  }

  /** The writer: chunks of any size, waiting while the client holds much; then the end the scenario wants. */
  #write(): void {
    const random = this.#random;
    if (this.#client.backlogBytes > maxBacklogBytes) {
      this.#after(5, () => this.#write());
      return;
    }
    if (this.#written < this.#upward.length) {
      const size = Math.min(random.magnitude(40_000), this.#upward.length - this.#written);
      this.#client.write(this.#upward.subarray(this.#written, this.#written + size));
      this.#written += size;
      this.#after(random.chance(0.7) ? 0 : random.between(0, 60), () => this.#write());
    } else if (this.#scenario.ending === 'terminate') {
      this.#note(() => 'the client terminates');
      this.#client.terminate();
    }
  }

  /** The port's program: pieces of any size; sshd closes when it has said all and heard all. */
  #speak(): void {
    const more = this.#port.speak(this.#random.magnitude(20_000));
    if (more) this.#after(this.#random.chance(0.5) ? 0 : this.#random.between(0, 100), () => this.#speak());
    else if (this.#scenario.ending === 'server-closes') this.#port.closeWhenHeardAll();
  }

  /** The client's socket breaks and comes back; meanwhile the gateway lets the agent pause (protocol.md 4.5, 7). */
  #cutClient(forMs: number, closeCode: number): void {
    if (!this.#clientUp) return;
    this.#note(() => `the client's socket is cut (${closeCode}) for ${Math.round(forMs)} ms`);
    this.#clientUp = false;
    this.#cutLinks();
    if (this.#random.chance(0.8)) this.#tellAgent(MessageType.pausePublication);
    this.#after(forMs, () => {
      this.#clientUp = true;
      this.#mendLinks();
      const answer = this.#client.reconnected(closeCode);
      this.#note(() => `the client reconnects${answer === undefined ? '' : `: ${answer}`}`);
      this.#tellAgent(MessageType.startPublication);
      // The end may have been lost with the socket; whoever resumes an ended session hears of it again.
      if (this.#agentEnd !== undefined) this.#sendChannelClosed(this.#agentEnd.output);
    });
  }

  /** Half-open: nothing passes either way, then everything goes on. */
  #standStill(until: number): void {
    this.#note(() => `nothing passes until ${until.toFixed(0)}`);
    this.#up.hold(until);
    this.#down.hold(until);
  }

  /** A machine that sleeps, a process that is stopped: for the client the time jumps. */
  #sleep(until: number): void {
    this.#note(() => `the client sleeps until ${until.toFixed(0)}`);
    this.#asleepUntil = Math.max(this.#asleepUntil, until);
  }

  /** The gateway tells both sides to pause, and then to go on. */
  #pause(forMs: number): void {
    const tellBoth = (messageType: string) => {
      this.#tellAgent(messageType);
      if (this.#clientUp) this.#down.sendFaithfully(serviceMessage(this.#random, messageType, undefined), this.#now);
    };
    tellBoth(MessageType.pausePublication);
    this.#after(forMs, () => tellBoth(MessageType.startPublication));
  }

  #cutAgent(forMs: number): void {
    if (!this.#agentUp || this.#agentEnd !== undefined) return;
    this.#note(() => `the agent's socket is cut for ${Math.round(forMs)} ms`);
    this.#agentUp = false;
    this.#cutLinks();
    this.#after(forMs, () => {
      this.#agentUp = true;
      this.#mendLinks();
      this.#tellAgent(MessageType.startPublication); // Reconnected, it clears its pause (section 7).
    });
  }

  #cutLinks(): void {
    this.#up.cut();
    this.#down.cut();
  }

  #mendLinks(): void {
    if (!this.#clientUp || !this.#agentUp) return;
    this.#up.mend();
    this.#down.mend();
  }

  #tellAgent(messageType: string): void {
    this.#agentInbox.push(serviceMessage(this.#random, messageType, undefined));
  }

  /** Things the gateway may say at any time, and things nobody should say. */
  #makeNoise(): void {
    const random = this.#random;
    if (random.chance(0.5)) this.#tellAgent(random.pick([MessageType.startPublication, MessageType.pausePublication]));
    if (random.chance(0.3)) {
      const messageType = random.pick([MessageType.startPublication, MessageType.pausePublication]);
      this.#down.sendFaithfully(serviceMessage(random, messageType, { any: 'thing' }), this.#now);
    }
    if (random.chance(0.5)) this.#down.sendFaithfully(garbage(random), this.#now);
    if (random.chance(0.5)) this.#agentInbox.push(garbage(random));
    // The gateway does not leave an agent paused for ever.
    this.#after(random.between(0, 1000), () => this.#tellAgent(MessageType.startPublication));
  }

  /** All bytes that arrived were right, or the run would have ended earlier; is the end right too? */
  #judge(closed: Extract<ChannelEvent, { type: 'closed' }>): Outcome {
    if (this.#client.next(this.#now) !== undefined || this.#client.deadline(this.#now) !== undefined) {
      this.#violated('the client has something to do after the end');
    }
    const end = this.#agentEnd ?? this.#violated('the session closed before the agent ended');
    const verdict = judge({
      scenario: this.#scenario,
      closed,
      end,
      heard: this.#port.heard,
      received: this.#received,
      behindGap: this.#ahead.size,
    });
    if ('law' in verdict) this.#violated(verdict.law);
    return { ...verdict, virtualMs: this.#now };
  }

  #after(ms: number, keep: () => void): void {
    const at = this.#now + ms;
    let index = this.#appointments.length;
    while (index > 0 && this.#appointments[index - 1]!.at > at) index--;
    this.#appointments.splice(index, 0, { at, keep });
  }

  #note(line: () => string): void {
    this.#trace(`${this.#now.toFixed(2).padStart(10)} ${line()}`);
  }

  #violated(law: string): never {
    this.#note(() => `VIOLATION: ${law}`);
    throw new Violation(`${law} (at ${this.#now.toFixed(2)} ms)`);
  }
}
