// From a target and a port to an open tunnel. Today every tunnel is an SSM session.
import type { Network } from '../aws/network.ts';
import type { SsmApi, UpgradeSigner } from '../aws/ssm-api.ts';
import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import type { Settings } from '../settings.ts';
import { openSsmTransport, type PayloadMemory, type SessionNotes } from '../ssm/transport.ts';
import type { Transport } from './transport.ts';

export interface TunnelOptions {
  /** `i-…` or `mi-…`. */
  target: string;
  port: number;
  aws: { ssm: SsmApi; signer: UpgradeSigner; network?: Pick<Network, 'agentFor'> };
  settings: Settings;
  payloadMemory: PayloadMemory;
  notes?: SessionNotes;
  clock: Clock;
  log: Log;
  /** Gives up: rejects after whatever was started has been ended. */
  signal: AbortSignal;
}

/**
 * Resolves when bytes can flow. It is not known yet whether anything listens on the port: SSM has no word for that,
 * so the caller has to wait for the first byte (protocol.md section 16, row 6).
 * @throws KeyholeError; nothing is left behind then.
 */
export async function openTunnel(options: TunnelOptions): Promise<Transport> {
  const { target, port, aws, settings, payloadMemory, notes, clock, log, signal } = options;
  return await openSsmTransport(
    {
      api: aws.ssm,
      signer: aws.signer,
      ...(aws.network && { agentFor: aws.network.agentFor }),
      clock,
      log,
      request: { target, documentName: settings.sshDocument, parameters: { portNumber: [String(port)] } },
      clientVersion: settings.clientVersion,
      streamHosts: settings.streamHosts,
      pingIntervalMs: settings.pingIntervalMs,
      maxPayloadBytes: settings.maxPayloadBytes,
      maxMessagesPerSecond: settings.maxMessagesPerSecond,
      resumeTimeoutMs: settings.resumeTimeoutMs,
      payloadMemory,
      ...(notes && { notes }),
    },
    signal,
  );
}
