// A way to get a public key onto a target for a while. Which one holds is the context's business, when it is used keypush's.

export interface Pusher {
  /** Makes the key valid for the user on the target, now, for `validMs`. @throws KeyholeError */
  push(publicKey: string, user: string, signal: AbortSignal): Promise<void>;
  /** How long AWS or the target keep the key. */
  readonly validMs: number;
}
