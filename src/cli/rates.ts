// How fast bytes flow, from what is counted now and what was counted when it was last looked at.

interface Counts {
  bytesSent: number;
  bytesReceived: number;
}

export class Rates {
  readonly #before = new Map<string, Counts & { at: number }>();

  /** Bytes per second since the last time, each way; undefined the first time. @param now ms */
  of(name: string, { bytesSent, bytesReceived }: Counts, now: number): { sent: number; received: number } | undefined {
    const before = this.#before.get(name);
    this.#before.set(name, { bytesSent, bytesReceived, at: now });
    if (before === undefined || now <= before.at) return undefined;
    const perSecond = (count: number) => Math.max(0, (count * 1000) / (now - before.at));
    return {
      sent: perSecond(bytesSent - before.bytesSent),
      received: perSecond(bytesReceived - before.bytesReceived),
    };
  }
}
