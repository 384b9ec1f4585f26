// The daemon's question for a caller's AWS settings, in the middle of a conversation (PROTOCOL.md, "The control socket").
import type { WantedSettings } from '../aws/caller.ts';
import { FrameType } from '../control/frame.ts';
import { type ControlLink, expectFrame } from '../control/link.ts';
import { parseError } from '../control/message.ts';

/**
 * One question at a time; who else wants the same settings waits for its answer (aws/contexts.ts).
 * @param onAsksPerson the caller has to ask a person
 * @throws KeyholeError
 */
export async function askCaller(
  link: ControlLink,
  wanted: WantedSettings,
  onAsksPerson: () => void = () => {},
): Promise<Record<string, unknown>> {
  link.send(FrameType.resolve, wanted);
  let frame = await link.receive();
  if (frame.type === FrameType.asking) {
    onAsksPerson();
    frame = await link.receive();
  }
  if (frame.type === FrameType.error) throw parseError(frame.body);
  return expectFrame(frame, FrameType.resolved);
}
