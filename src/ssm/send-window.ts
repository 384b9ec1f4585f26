// How many bytes may be on their way, so that they wait nowhere for long: each of ours that waits makes the next keystroke
// wait, on this tunnel and on those beside it. Pure; times are milliseconds.
//
// The window follows round trips, as in FAST and LEDBAT (RFC 6817): it shrinks where bytes wait for longer than a target, and
// grows where for less. The target falls with the rate: tunnels that share a line see the same queue, whoever has less
// of the line finds it shorter than his target and takes more, and so they come to share alike.
//
// The round trip without a queue is seen only where there is none. So every ten seconds of wall time the window is small for
// about a round trip, in all tunnels at the same moment. What is found then is the base even if it is more than before:
// another route, or a queue that somebody else keeps full, of whom we must not wait for ever to leave.

/** What TCP sends at first (RFC 6928), or so. */
export const initialWindowBytes = 16 * 1024;
/** One message on its way, whatever its size. */
const leastWindowBytes = 1024;
/** Nor less than the line was seen to take in this time: no queue of ours is longer, so whose is it? */
const leastWindowMs = 15;
/** Of the queue, at any rate, and what comes to it at 100 KB/s: 42 ms at 500 KB/s, 91 at 50 KB/s. */
const leastTargetMs = 20;
const furtherTargetMs = 50;
const furtherTargetRate = 100;
const mostTargetMs = 200;
/** A round trip is taken to be this long at least. */
const timerMs = 0.01;
/** A round is a round trip, but not so short that a few samples would decide. */
const leastRoundMs = 50;
/** Part of the target below which there is no queue; so many rounds of it, and the line has become much faster. */
const noQueueShare = 0.25;
const roundsWithoutQueue = 3;
const periodMs = 10_000;
/** To see an empty line, so much less than fills it is sent, in time and as a share at most, for so long. */
const drainMs = 100;
const drainShare = 0.5;
const emptyMs = 50;
/** What of the window was not used for so long is given up: nobody knows any more whether it is right. */
const forgetMs = 1_000;

const never = Number.POSITIVE_INFINITY;

/** What is known of a message that is acknowledged. */
export interface Delivery {
  bytes: number;
  /** Of its only transmission; undefined where there were several (Karn). */
  sentAt: number | undefined;
  /** `delivered` when it was sent. */
  deliveredBefore: number;
}

export class SendWindow {
  readonly #epoch: number;
  #bytes = initialWindowBytes;
  /** It grows by what is acknowledged until a queue shows. */
  #isStarting = true;
  #delivered = 0;
  #rate: number | undefined;
  /** The round trip without a queue. */
  #base: number | undefined;
  #period: number | undefined;
  #round = new Round(-never);
  #isFull = false;
  /** The highest rate of this period and of the one before. */
  #peak = 0;
  #peakBefore = 0;
  #roundsWithoutQueue = 0;
  #drain: { bytes: number; round: Round } | undefined;

  /** @param epoch wall time (ms since 1970) at `now` = 0 */
  constructor(epoch: number) {
    this.#epoch = epoch;
  }

  /** Nothing new is sent while so many bytes are unacknowledged. */
  get bytes(): number {
    return this.#drain?.bytes ?? this.#bytes;
  }

  /** Bytes acknowledged so far: to be kept with each message that is sent. */
  get delivered(): number {
    return this.#delivered;
  }

  /** Bytes per millisecond that the path was seen to take. */
  get rate(): number {
    return this.#rate ?? 0;
  }

  /** How long bytes may wait on the way. */
  get targetMs(): number {
    return targetOf(this.rate);
  }

  /** A message is sent; with it `outstanding` bytes are unacknowledged. */
  sent(outstanding: number, now: number): void {
    this.#round.mostOutstanding = Math.max(this.#round.mostOutstanding, outstanding);
    // The window is so small that this one goes onto an empty line.
    if (this.#drain?.round.startedAt === never) this.#drain.round.startedAt = now;
  }

  /** More would have been sent. */
  limited(): void {
    this.#round.wasLimited = true;
  }

  acknowledged({ bytes, sentAt, deliveredBefore }: Delivery, now: number): void {
    this.#delivered += bytes;
    if (sentAt === undefined) return;
    const roundTripMs = Math.max(now - sentAt, timerMs);
    const rate = (this.#delivered - deliveredBefore) / roundTripMs;
    this.#base ??= roundTripMs;
    if (this.#drain !== undefined) {
      this.#continueDrain(this.#drain, sentAt, roundTripMs, now);
      return;
    }
    const round = this.#round;
    round.add(roundTripMs, rate, bytes, now);
    if (this.#isStarting) this.#grow(bytes, this.#base);
    if (sentAt >= round.startedAt && now >= round.startedAt + leastRoundMs) this.#endRound(this.#base, now);
    const period = Math.floor((this.#epoch + now) / periodMs);
    if (period !== this.#period) this.#beginPeriod(period);
  }

  /** Another socket, and perhaps another route. */
  reconnected(): void {
    this.#base = undefined;
    this.#drain = undefined;
  }

  #grow(bytes: number, base: number): void {
    const { wasLimited, rate, isMeaningful, mean, arrivalRate } = this.#round;
    if (wasLimited) this.#bytes += bytes;
    this.#rate = Math.max(this.rate, rate);
    if (!isMeaningful || mean - base <= targetOf(rate)) return;
    this.#isStarting = false;
    this.#rate = rate;
    this.#bytes = Math.min(this.#bytes, Math.max(leastWindowBytes, arrivalRate * (base + targetOf(arrivalRate))));
  }

  #endRound(base: number, now: number): void {
    const round = this.#round;
    this.#round = new Round(now);
    this.#isFull = round.wasLimited;
    this.#base = Math.min(base, round.mean);
    this.#peak = Math.max(this.#peak, round.rate);
    if (!round.wasLimited) {
      this.#rate = Math.max(this.rate, round.rate);
      this.#forget(2 * round.mostOutstanding, now - round.startedAt);
    } else if (!this.#isStarting) {
      this.#rate = round.rate;
      this.#follow(round.mean, base);
    }
  }

  #follow(roundTripMs: number, base: number): void {
    const target = this.targetMs;
    // Half of the way, since the round trips are those of the window before this one.
    const factor = (1 + (base + target) / roundTripMs) / 2;
    const least = Math.max(leastWindowBytes, Math.max(this.#peak, this.#peakBefore) * leastWindowMs);
    this.#bytes = Math.max(Math.min(least, this.#bytes), this.#bytes * Math.min(2, factor));
    this.#roundsWithoutQueue = roundTripMs - base < target * noQueueShare ? this.#roundsWithoutQueue + 1 : 0;
    if (this.#roundsWithoutQueue >= roundsWithoutQueue) this.#start();
  }

  #start(): void {
    this.#isStarting = true;
    this.#roundsWithoutQueue = 0;
  }

  #forget(used: number, ms: number): void {
    const excess = this.#bytes - Math.max(initialWindowBytes, used);
    if (excess <= 0) return;
    this.#bytes -= excess * Math.min(1, ms / forgetMs);
    this.#start();
  }

  #beginPeriod(period: number): void {
    const isFirst = this.#period === undefined;
    this.#period = period;
    if (isFirst) return;
    this.#peakBefore = this.#peak;
    this.#peak = 0;
    // Where nothing waited for the window there is no queue of ours.
    if (!this.#isFull) this.#base = undefined;
    else if (!this.#isStarting) {
      const base = this.#base!;
      const bytes = Math.max(leastWindowBytes, this.rate * Math.max(base * drainShare, base - drainMs));
      this.#drain = { bytes, round: new Round(never) };
    }
  }

  #continueDrain({ round }: { round: Round }, sentAt: number, roundTripMs: number, now: number): void {
    if (sentAt < round.startedAt) return;
    round.add(roundTripMs, 0, 0, now);
    if (sentAt < round.startedAt + emptyMs) return;
    this.#base = round.mean;
    this.#drain = undefined;
    this.#round = new Round(now);
  }
}

/** What was seen since a time, until a message sent after it is acknowledged. */
class Round {
  startedAt: number;
  /** The highest: there is little else that makes a sample too high. */
  rate = 0;
  mostOutstanding = 0;
  wasLimited = false;
  #count = 0;
  #sum = 0;
  #bytes = 0;
  #firstAt = 0;
  #lastAt = 0;

  constructor(startedAt: number) {
    this.startedAt = startedAt;
  }

  add(roundTripMs: number, rate: number, bytes: number, now: number): void {
    if (this.#count === 0) this.#firstAt = now;
    else this.#bytes += bytes;
    this.#lastAt = now;
    this.#count += 1;
    this.#sum += roundTripMs;
    this.rate = Math.max(this.rate, rate);
  }

  /** The mean and not the lowest, so that what differs from message to message is in the base as well as in what is compared. */
  get mean(): number {
    return this.#sum / this.#count;
  }

  /** At which acknowledgements come: the line's, once there is a queue. */
  get arrivalRate(): number {
    return this.#bytes / (this.#lastAt - this.#firstAt);
  }

  /** Enough samples for a conclusion within the round. */
  get isMeaningful(): boolean {
    return this.#count >= 4;
  }
}

function targetOf(rate: number): number {
  return Math.min(mostTargetMs, leastTargetMs + furtherTargetMs * Math.sqrt(furtherTargetRate / rate));
}
