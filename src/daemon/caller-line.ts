// The way from a tunnel to whoever asked for it. As a rule the caller is there before the tunnel; one that was begun for a knock
// (knocks.ts) may have its caller later, or never.
import type { FrameType } from '../control/frame.ts';
import type { ControlLink } from '../control/link.ts';
import { KeyholeError } from '../errors.ts';

export class CallerLine {
  /** Aborted when the caller went away, or will not come; with `control-closed`, as a link's own. */
  readonly gone: AbortSignal;
  readonly #gone = new AbortController();
  readonly #link = Promise.withResolvers<ControlLink>();
  #isOver = false;
  #held: [type: FrameType, body: object][] | undefined = [];
  #connected: ControlLink | undefined;

  constructor(link?: ControlLink) {
    this.gone = this.#gone.signal;
    this.#link.promise.catch(() => {}); // told by `gone`
    if (link !== undefined) this.connect(link);
  }

  /** The caller is there: it is told what was said so far. Once, and not after `giveUp`. */
  connect(link: ControlLink): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    this.#connected = link;
    for (const [type, body] of held) link.send(type, body);
    if (this.#isOver) link.socket.destroySoon();
    const gone = () => this.#gone.abort(link.closed.reason);
    if (link.closed.aborted) gone();
    else link.closed.addEventListener('abort', gone, { once: true });
    this.#link.resolve(link);
  }

  /** No caller will come. */
  giveUp(): void {
    if (this.#connected !== undefined) return;
    const reason = new KeyholeError('control-closed', 'nobody came for the tunnel');
    this.#gone.abort(reason);
    this.#link.reject(reason);
  }

  /** A frame, or one that waits for the caller. */
  send(type: FrameType, body: object = {}): void {
    if (this.#held === undefined) this.#connected?.send(type, body);
    else this.#held.push([type, body]);
  }

  /** Resolves when the caller is there. @throws KeyholeError `control-closed` after `giveUp` */
  link(): Promise<ControlLink> {
    return this.#link.promise;
  }

  /** All has been said. */
  end(): void {
    this.#isOver = true;
    this.#connected?.socket.destroySoon();
  }
}
