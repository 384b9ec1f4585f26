// Everything a tunnel needs of AWS, from the AWS settings of this process: region, API, signer. This module loads
// the SDK (some 100 ms), so it is imported lazily and only by what is about to call AWS.
import { readFile } from 'node:fs/promises';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { SSMClient } from '@aws-sdk/client-ssm';
import type { Clock } from '../clock.ts';
import { ConfigError } from '../errors.ts';
import type { Log } from '../log.ts';
import { version } from '../version.ts';
import { adviseAwsError } from './advice.ts';
import { findCredentials } from './credentials.ts';
import { type AwsProfile, findProfile, findRegion, findSsmEndpoint } from './profile.ts';
import { upgradeSigner } from './sign.ts';
import type { Credentials, SsmApi, UpgradeSigner } from './ssm-api.ts';
import { ssmClient } from './ssm-client.ts';

export interface AwsOptions {
  /** Wins over the environment; may be in lower case (profile.ts). */
  profile?: string | undefined;
  /** Wins over the environment and the profile. */
  region?: string | undefined;
  clock: Clock;
  log: Log;
}

export interface AwsContext {
  readonly profile: string;
  readonly region: string;
  readonly ssm: SsmApi;
  readonly signer: UpgradeSigner;
  /** Certificate authorities to trust instead of the built-in ones (AWS_CA_BUNDLE), for the websocket too. */
  readonly ca: Buffer | undefined;
  /** Cached, and refreshed before they expire. */
  credentials(): Promise<Credentials>;
  /** Closes idle connections. */
  close(): void;
}

const connectTimeoutMs = 5_000;
const answerTimeoutMs = 10_000;

/** @throws ConfigError `no-region`, `profile-unknown`, `bad-endpoint`, `bad-ca-bundle`; credentials are not asked for yet. */
export async function openAws({
  profile: wantedProfile,
  region: wantedRegion,
  clock,
  log,
}: AwsOptions): Promise<AwsContext> {
  const profile = await findProfile(wantedProfile);
  const region = findRegion(wantedRegion, profile);
  const ca = await readCaBundle(profile);
  const endpoint = findSsmEndpoint(profile);
  const source = findCredentials(profile);
  const client = new SSMClient({
    region,
    profile: profile.name,
    ...(endpoint !== undefined && { endpoint }),
    ignoreConfiguredEndpointUrls: true,
    credentials: source.provider,
    customUserAgent: [['keyhole', version]],
    maxAttempts: 1, // retry.ts repeats
    logger: { trace() {}, debug() {}, info() {}, warn() {}, error() {} },
    requestHandler: {
      connectionTimeout: connectTimeoutMs,
      requestTimeout: answerTimeoutMs,
      throwOnRequestTimeout: true,
      httpAgent: new HttpAgent({ keepAlive: true }),
      httpsAgent: new HttpsAgent({ keepAlive: true, ...(ca && { ca }) }),
    },
  });
  const credentials = () =>
    client.config.credentials().catch((error: unknown) => {
      throw adviseAwsError(error, { service: 'ssm', operation: 'credentials', region, profile: source.profile });
    });
  return {
    profile: profile.name,
    region,
    ssm: ssmClient({ client, region, profile: source.profile, clock, log }),
    // The SDK learns the offset of our clock from the Date header of every answer.
    signer: upgradeSigner({ region, credentials, awsTime: () => clock.wallTime() + client.config.systemClockOffset }),
    ca,
    credentials,
    close: () => client.destroy(),
  };
}

/** The SDK for JavaScript does not read this setting; all other AWS tools do. */
async function readCaBundle(profile: AwsProfile): Promise<Buffer | undefined> {
  const file = process.env.AWS_CA_BUNDLE || profile.values.ca_bundle;
  if (!file) return undefined;
  try {
    return await readFile(file);
  } catch (error) {
    throw new ConfigError(
      'bad-ca-bundle',
      `cannot read AWS_CA_BUNDLE ${file}: ${(error as NodeJS.ErrnoException).code}`,
      {
        cause: error,
      },
    );
  }
}
