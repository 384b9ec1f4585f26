// One run of a multiplexed session: the client's Mux and the agent's (test/region/agent/mux.ts), joined by two streams of
// bytes that arrive in pieces of any size and after any time, between clients and servers of different manners, in
// virtual time. Everything follows from the seed. It ends when all streams have, or throws Violation.
import { Mux, type MuxEvent } from '../../src/ssm/mux/mux.ts';
import { AgentMux, type MuxAction } from '../region/agent/mux.ts';
import { Random } from './random.ts';

export class MuxViolation extends Error {}

/** What the server of a stream does; the client of each knows what to expect. */
const manners = ['echo', 'answers-at-the-end', 'speaks-only', 'stalls', 'refuses', 'closes-early', 'is-left'] as const;
type Manner = (typeof manners)[number];

interface Party {
  manner: Manner;
  streamId: number;
  up: Buffer;
  down: Buffer;
  written: number;
  /** What the server got and said; what the client got. */
  heard: number;
  said: number;
  received: number;
  ended: MuxEvent['type'] | 'finished' | 'left' | undefined;
  serverClosed: boolean;
  stalledUntil: number;
}

const limitMs = 600_000;
/** A client waits while this much of its stream waits in the mux, as ssm/mux/link.ts makes it. */
const maxWaiting = 64 * 1024;

export function runMux(seed: number, trace: (line: string) => void = () => {}): { streams: number; virtualMs: number } {
  return new MuxWorld(seed, trace).run();
}

class MuxWorld {
  readonly #random: Random;
  readonly #trace: (line: string) => void;
  readonly #mux = new Mux(10_000, 0);
  readonly #agent = new AgentMux();
  readonly #parties: Party[] = [];
  readonly #byId = new Map<number, Party>();
  #toOpen: number;
  #now = 0;
  #events: { at: number; run: () => void }[] = [];
  #up: Buffer[] = [];
  #upBytes = 0;

  constructor(seed: number, trace: (line: string) => void) {
    this.#random = new Random(seed, 'mux');
    this.#trace = trace;
    this.#toOpen = this.#random.magnitude(24);
    for (let i = 0; i < this.#toOpen; i++) this.#at(this.#random.between(0, 500), () => this.#open());
    this.#at(0, () => this.#send());
    this.#at(0, () => this.#deliver());
  }

  run(): { streams: number; virtualMs: number } {
    while (this.#events.length > 0 && !this.#done) {
      const event = this.#events.shift()!;
      this.#now = event.at;
      if (this.#now > limitMs)
        this.#violated(`not ended: ${JSON.stringify(this.#parties.filter((p) => !p.ended).map((p) => p.manner))}`);
      event.run();
    }
    for (const party of this.#parties) this.#judge(party);
    return { streams: this.#parties.length, virtualMs: this.#now };
  }

  get #done(): boolean {
    return (
      this.#parties.length === this.#toOpen &&
      this.#parties.every(({ ended, manner, serverClosed }) => ended && (serverClosed || manner === 'refuses'))
    );
  }

  #open(): void {
    const manner = this.#random.pick(manners);
    const streamId = this.#mux.open();
    const up = this.#random.bytes(manner === 'speaks-only' ? 0 : this.#random.magnitude(200_000));
    const down = manner === 'echo' ? up : this.#random.bytes(this.#random.magnitude(200_000));
    const party: Party = {
      manner,
      streamId,
      up,
      down,
      written: 0,
      heard: 0,
      said: 0,
      received: 0,
      ended: undefined,
      serverClosed: false,
      stalledUntil: manner === 'stalls' ? this.#now + this.#random.between(0, 20_000) : 0,
    };
    this.#parties.push(party);
    this.#byId.set(streamId, party);
    this.#trace(`${Math.round(this.#now)} stream ${streamId}: ${manner}, ${up.length} up, ${down.length} down`);
    this.#write(party);
    if (manner === 'is-left') this.#at(this.#now + this.#random.between(0, 2_000), () => this.#leave(party));
  }

  #write(party: Party): void {
    if (party.ended !== undefined) return;
    if (this.#mux.waitingBytes(party.streamId) < maxWaiting && party.written < party.up.length) {
      const piece = party.up.subarray(party.written, party.written + this.#random.magnitude(40_000));
      this.#mux.write(party.streamId, piece);
      party.written += piece.length;
    }
    if (party.written < party.up.length) this.#soon(() => this.#write(party));
    else this.#finishIfAnswered(party);
  }

  #leave(party: Party): void {
    if (party.ended !== undefined) return;
    party.ended = 'left';
    this.#mux.abandon(party.streamId);
  }

  /** A client that has all it wanted closes. */
  #finishIfAnswered(party: Party): void {
    if (party.ended !== undefined || party.written < party.up.length || party.received < party.down.length) return;
    if (party.manner === 'refuses' || party.manner === 'closes-early' || party.manner === 'is-left') return;
    party.ended = 'finished';
    this.#mux.finish(party.streamId);
  }

  /** The client's frames go out while the data channel has room. */
  #send(): void {
    while (this.#upBytes < 128 * 1024) {
      const frame = this.#mux.next(this.#now);
      if (frame === undefined) break;
      this.#up.push(frame);
      this.#upBytes += frame.length;
    }
    this.#soon(() => this.#send());
  }

  /** Messages arrive at both ends, cut as it happens. */
  #deliver(): void {
    if (!this.#agent.blocked && this.#upBytes > 0) {
      const all = Buffer.concat(this.#up);
      const length = this.#random.magnitude(Math.min(all.length, 40_000));
      this.#up = length < all.length ? [all.subarray(length)] : [];
      this.#upBytes -= length;
      this.#act(this.#agent.receive(all.subarray(0, length)));
    }
    const down = this.#agent.read(this.#random.magnitude(8_192));
    if (down !== undefined) for (const event of this.#mux.receive(Buffer.from(down), this.#now)) this.#take(event);
    this.#at(this.#now + this.#random.between(0.1, 3), () => this.#deliver());
  }

  #take(event: MuxEvent): void {
    const party = this.#byId.get(event.streamId);
    if (party === undefined) throw new MuxViolation(`an event for stream ${event.streamId}, which there is not`);
    if (party.ended !== undefined) this.#violated(`stream ${event.streamId} goes on after its end (${party.ended})`);
    if (event.type !== 'data') {
      this.#trace(`${Math.round(this.#now)} stream ${event.streamId}: ${event.type}`);
      party.ended = event.type;
      return;
    }
    const expected = party.down.subarray(party.received, party.received + event.bytes.length);
    if (!expected.equals(event.bytes))
      this.#violated(`wrong bytes for the client of ${party.streamId} at ${party.received}`);
    party.received += event.bytes.length;
    this.#finishIfAnswered(party);
  }

  #act(actions: MuxAction[]): void {
    for (const action of actions) {
      if (action.type === 'broken') this.#violated('the agent can not read what the client sent');
      else if (action.type === 'connect-error') this.#mux.connectError();
      else if (action.type === 'dial') this.#soon(() => this.#dialled(this.#byId.get(action.streamId)!));
      else if (action.type === 'close') this.#byId.get(action.streamId)!.serverClosed = true;
      else this.#hear(this.#byId.get(action.streamId)!, action.bytes);
    }
  }

  #dialled(party: Party): void {
    if (party.manner === 'refuses') {
      this.#act(this.#agent.dialFailed(party.streamId));
      return;
    }
    this.#act(this.#agent.dialled(party.streamId));
    this.#speak(party);
  }

  /** The server reads, perhaps later. */
  #hear(party: Party, bytes: Buffer): void {
    this.#at(Math.max(party.stalledUntil, this.#now) + this.#random.between(0, 2), () => {
      if (!party.up.subarray(party.heard, party.heard + bytes.length).equals(bytes))
        this.#violated(`wrong bytes for the server of ${party.streamId} at ${party.heard}`);
      party.heard += bytes.length;
      this.#act(this.#agent.written(party.streamId));
    });
  }

  #speak(party: Party): void {
    if (party.serverClosed) return;
    const { manner, down, said, heard, up } = party;
    const mayTalk = manner !== 'answers-at-the-end' || heard === up.length;
    const until = manner === 'echo' ? heard : mayTalk ? down.length : 0;
    const length = Math.min(until - said, this.#agent.wanted(party.streamId), this.#random.magnitude(32_768));
    if (length > 0) {
      party.said += length;
      this.#act(this.#agent.socketData(party.streamId, Buffer.from(down.subarray(said, said + length))));
    }
    if (manner === 'closes-early' && party.said === down.length && this.#agent.wanted(party.streamId) > 0) {
      this.#act(this.#agent.socketEnded(party.streamId));
      return;
    }
    this.#soon(() => this.#speak(party));
  }

  #judge({ manner, streamId, ended, received, down, heard, up }: Party): void {
    const expected = { refuses: ['refused'], 'closes-early': ['end'], 'is-left': ['left'] }[manner as string] ?? [
      'finished',
    ];
    if (!expected.includes(ended!)) this.#violated(`stream ${streamId}, which ${manner}, ended by ${ended}`);
    if (manner === 'is-left' || manner === 'refuses') return;
    if (received !== down.length) this.#violated(`the client of ${streamId} got ${received} of ${down.length} bytes`);
    if (manner !== 'closes-early' && heard !== up.length)
      this.#violated(`the server of ${streamId} got ${heard} of ${up.length}`);
  }

  #soon(run: () => void): void {
    this.#at(this.#now + this.#random.between(0.1, 5), run);
  }

  #at(at: number, run: () => void): void {
    let index = this.#events.length;
    while (index > 0 && this.#events[index - 1]!.at > at) index--;
    this.#events.splice(index, 0, { at, run });
  }

  #violated(law: string): never {
    throw new MuxViolation(`at ${Math.round(this.#now)} ms: ${law}`);
  }
}
