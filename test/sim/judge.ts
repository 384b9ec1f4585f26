// What a session may have come to, seen from outside when the client has been told of its end.
import type { ChannelEvent } from '../../src/ssm/channel.ts';
import type { AgentAction } from '../region/agent/channel.ts';
import type { Scenario } from './scenarios.ts';

export interface Facts {
  scenario: Scenario;
  /** What the client says. */
  closed: Extract<ChannelEvent, { type: 'closed' }>;
  /** What the agent says. */
  end: Extract<AgentAction, { type: 'ended' }>;
  /** Bytes that reached the port, and bytes that reached the reader. */
  heard: number;
  received: number;
  /** Messages that the client got behind one that it did not get. */
  behindGap: number;
}

export interface Verdict {
  /** `whole`: all bytes arrived both ways. `reported`: not, for a reason the scenario allows, and the client said so. */
  result: 'whole' | 'reported';
  why: string;
}

/** The law that was broken, if one was. */
export function judge({ scenario, closed, end, heard, received, behindGap }: Facts): Verdict | { law: string } {
  const { upBytes, downBytes, ending, mayLose } = scenario;
  const heardAll = heard === upBytes;
  const receivedAll = received === downBytes;
  if (closed.output !== end.output) {
    return { law: `channel_closed said "${end.output}", the client "${closed.output}"` };
  }
  if (closed.missing !== behindGap > 0) {
    return { law: `the client says that messages are ${closed.missing ? '' : 'not '}missing, which is wrong` };
  }
  const timedOut = end.output.includes('Handshake timed out');
  if (timedOut && ending !== 'unanswered' && !mayLose) return { law: 'the handshake timed out' };
  switch (timedOut ? 'unanswered' : ending) {
    case 'server-closes':
      if (!receivedAll && end.unacknowledged === 0) return { law: 'the client acknowledged output and lost it' };
      if (!receivedAll && !mayLose) return { law: `output ends at ${received} of ${downBytes}` };
      if (!heardAll) return { law: `sshd closed with ${heard} of ${upBytes} bytes heard` };
      break;
    case 'terminate':
      if (!heardAll) return { law: `terminated with ${heard} of ${upBytes} bytes delivered` };
      break;
    case 'refused':
    case 'unanswered':
      if (received + heard > 0) return { law: 'bytes passed where no connection was' };
      if (end.status !== 'Failed' || closed.output === '') return { law: 'the failure came without its reason' };
      break;
    case 'cancelled':
    case 'reset':
      break;
  }
  if (heardAll && receivedAll && end.status === 'Success') return { result: 'whole', why: '' };
  const unacknowledged = `${ending}, ${end.unacknowledged} unacknowledged`;
  return { result: 'reported', why: closed.missing ? 'output missing' : closed.output || unacknowledged };
}
