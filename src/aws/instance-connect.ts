// SendSSHPublicKey through the AWS SDK: the key is valid for a minute for one user of one instance (protocol.md 9.6).
import {
  EC2InstanceConnectClient,
  type EC2InstanceConnectClientConfig,
  SendSSHPublicKeyCommand,
} from '@aws-sdk/client-ec2-instance-connect';
import type { Clock } from '../clock.ts';
import { adviseAwsError } from './advice.ts';
import type { Pusher } from './pusher.ts';
import { withRetries } from './retry.ts';

export interface InstanceConnectOptions {
  config: EC2InstanceConnectClientConfig;
  region: string;
  /** For messages. */
  profile: string | undefined;
  clock: Clock;
}

/** AWS keeps a key in the instance's metadata for a minute (protocol.md 9.6). */
const validMs = 60_000;

export class InstanceConnect {
  readonly #options: InstanceConnectOptions;
  #client: EC2InstanceConnectClient | undefined;

  constructor(options: InstanceConnectOptions) {
    this.#options = options;
  }

  pusher(instanceId: string): Pusher {
    return { validMs, push: (publicKey, user, signal) => this.#send(instanceId, publicKey, user, signal) };
  }

  async #send(instanceId: string, publicKey: string, user: string, signal: AbortSignal): Promise<void> {
    const { clock, config, region, profile } = this.#options;
    this.#client ??= new EC2InstanceConnectClient(config);
    const client = this.#client;
    const command = new SendSSHPublicKeyCommand({
      InstanceId: instanceId,
      InstanceOSUser: user,
      SSHPublicKey: publicKey,
    });
    await withRetries(
      async () => {
        try {
          await client.send(command, { abortSignal: signal });
        } catch (error) {
          const context = { service: 'ec2-instance-connect', operation: 'SendSSHPublicKey', region, profile };
          throw adviseAwsError(error, { ...context, target: instanceId, conditions: `ec2:osuser ${user}` });
        }
      },
      { clock, signal },
    );
  }
}
