// What a daemon is made of: the long-lived things that tunnels share.

import type { Keyring } from '../agent/keyring.ts';
import type { CallerSurroundings, WantedSettings } from '../aws/caller.ts';
import type { AwsContexts } from '../aws/contexts.ts';
import type { Clock } from '../clock.ts';
import type { Route } from '../eice/endpoint.ts';
import type { KeyholeError } from '../errors.ts';
import type { HostKeys } from '../hostkeys/host-keys.ts';
import type { KeyPush } from '../keypush/key-push.ts';
import type { Log } from '../log.ts';
import type { NetworkWatch } from '../network-watch.ts';
import type { PayloadMemory } from '../ssm/transport-options.ts';
import type { InstanceNames } from '../target/names.ts';
import type { TunnelChoice } from '../tunnel/choice.ts';
import type { AgentSockets } from './agent-sockets.ts';
import type { ForwardList } from './forward-list.ts';
import type { SessionLedger } from './session-ledger.ts';

export interface DaemonParts {
  clock: Clock;
  log: Log;
  aws: AwsContexts;
  keyring: Keyring;
  keyPush: KeyPush;
  hostKeys: HostKeys;
  /** Undefined where no socket can be made. */
  agents: AgentSockets | undefined;
  names: InstanceNames;
  choice: TunnelChoice<Route>;
  payloadMemory: PayloadMemory;
  networkWatch: NetworkWatch;
  ledger: SessionLedger;
  forwardList: ForwardList;
  /** Asks a child in the caller's surroundings for its AWS settings. @throws KeyholeError */
  resolveAws(caller: CallerSurroundings, wanted: WantedSettings): Promise<Record<string, unknown>>;
  recordFailure(where: { host: string; port: string }, error: KeyholeError): void;
}
