// The instance's side of sessions that it can't serve: it ends as soon as the client's leg is there.
import type { AgentEnd, AgentLeg } from '../agent/agent.ts';

export function endingAgent(output: string): AgentLeg {
  let ended = false;
  const end = (reason: string) => {
    if (ended) return;
    ended = true;
    setImmediate(() => leg.onEnd({ output: reason }));
  };
  const leg: AgentLeg = {
    // The first message is the gateway's start_publication.
    send: () => {
      end(output);
      return true;
    },
    onMessage: () => {},
    onEnd: (_end: AgentEnd) => {},
    onDrain: () => {},
    pause: () => {},
    resume: () => {},
    cancel: end,
    close: () => {
      leg.onEnd = () => {};
    },
  };
  return leg;
}
