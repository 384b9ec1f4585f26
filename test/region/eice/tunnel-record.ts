// What the region remembers of a tunnel.
import type { OpenTunnel } from './open-tunnel.ts';

/** Who or what ended it. `cut` is a fault of the test's, `lost` a reset by the instance. */
export type TunnelEnd = 'client' | 'target' | 'unreachable' | 'lost' | 'expired' | 'protocol error' | 'cut';

export interface TunnelRecord extends Omit<OpenTunnel, 'maxTunnelDuration'> {
  /** Of the upgrade: its `x-amzn-RequestId`. */
  tunnelId: string;
  instanceId: string;
  /** Seconds that hold. */
  maxTunnelDuration: number;
  accessKeyId: string;
  /** The caller's. */
  arn: string;
  sourceIp: string;
  /** Milliseconds since 1970, service time: of the 101, of the TCP connection, and of the end. */
  openedAt: number;
  connectedAt: number | undefined;
  endedAt: number | undefined;
  endedBy: TunnelEnd | undefined;
  closeSent: { code: number; reason: string } | undefined;
  /** The client's close frame; 1006 where the connection went without one. */
  closeReceived: number | undefined;
  /** Frames with data from the client (`up`), reads from the instance (`down`), and their bytes. */
  traffic: { up: { messages: number; bytes: number }; down: { messages: number; bytes: number } };
  /** Control frames that came from the client. */
  pings: number;
  pongs: number;
  /** What the client did wrong. */
  errors: string[];
}
