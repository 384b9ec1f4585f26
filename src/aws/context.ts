// Everything a tunnel needs of AWS, from settings that are known: region, API, signer. This module loads the SDK, so it is
// imported lazily and only by what is about to call AWS.
import { readFile } from 'node:fs/promises';
import { rootCertificates } from 'node:tls';
import { SSMClient } from '@aws-sdk/client-ssm';
import type { Clock } from '../clock.ts';
import { ConfigError } from '../errors.ts';
import type { Log } from '../log.ts';
import { version } from '../version.ts';
import { adviseAwsError } from './advice.ts';
import { type CommandApi, Commands } from './command-api.ts';
import { type Ec2Api, LazyEc2 } from './ec2.ts';
import type { WhoAmI } from './identity.ts';
import { whoAmI } from './identity.ts';
import { InstanceConnect } from './instance-connect.ts';
import { makeNetwork, type Network } from './network.ts';
import { Nodes, type NodesApi } from './nodes.ts';
import type { Pusher } from './pusher.ts';
import type { Resolution } from './resolution.ts';
import { upgradeSigner } from './sign.ts';
import type { Credentials, SsmApi, UpgradeSigner } from './ssm-api.ts';
import { ssmCall, ssmEndpoint } from './ssm-call.ts';
import { type CallQueues, ssmClient } from './ssm-client.ts';

export interface AwsContext {
  /** Names the settings, without telling them. */
  readonly id: string;
  readonly profile: string;
  readonly region: string;
  readonly ssm: SsmApi;
  readonly signer: UpgradeSigner;
  /** Gets a public key onto an instance; undefined where Instance Connect knows no such target (hybrid nodes). */
  pusher(instanceId: string): Pusher | undefined;
  readonly commands: CommandApi;
  readonly ec2: Ec2Api;
  /** What Systems Manager lists. */
  readonly nodes: NodesApi;
  /** Whether FIPS endpoints are asked for. */
  readonly fips: boolean;
  /** For messages: the profile of the credentials; undefined for keys in the environment. */
  readonly credentialSource: string | undefined;
  /** The way to AWS, for the websocket too. */
  readonly network: Network;
  /** Cached, and refreshed before they expire. */
  credentials(): Promise<Credentials>;
  /** Asks AWS who that is. Never rejects. */
  whoAmI(): Promise<WhoAmI>;
  /** Milliseconds since 1970 by AWS's clock, as far as it is known. */
  awsTime(): number;
  /** AWS's clock, as an answer that no client of the SDK has read tells it. */
  learnAwsTime(time: number): void;
  /** Closes idle connections. */
  close(): void;
}

const connectTimeoutMs = 5_000;
const answerTimeoutMs = 10_000;

export interface ContextOptions {
  /** Names the settings, without telling them. */
  id: string;
  clock: Clock;
  log: Log;
  /** Gets fresh credentials from where the first came. @throws AwsError */
  refresh(): Promise<Credentials>;
  /** Where others wait with us. */
  queues?: CallQueues;
  /** For how long after its use the way to a gateway is kept ready for the next tunnel; default 0: not at all. */
  keepReadyMs?: number;
}

/** From settings that are known. Nothing of this process's own AWS settings gets into it. @throws ConfigError `bad-ca-bundle` */
export async function contextOf(resolution: Resolution, options: ContextOptions): Promise<AwsContext> {
  const { region, profile, credentialSource } = resolution;
  const { id, clock, log, queues, keepReadyMs = 0 } = options;
  const ready = { clock, keepMs: keepReadyMs };
  const network = makeNetwork(resolution.proxy, await readAuthorities(resolution), ready);
  const credentials = credentialProvider(resolution.credentials, options.refresh);
  const common = {
    region,
    profile,
    ignoreConfiguredEndpointUrls: true,
    useFipsEndpoint: resolution.fips,
    useDualstackEndpoint: resolution.dualstack,
    credentials,
    customUserAgent: [['keyhole', version]] as [string, string][],
    maxAttempts: 1, // retry.ts repeats
    logger: { trace() {}, debug() {}, info() {}, warn() {}, error() {} },
    requestHandler: {
      connectionTimeout: connectTimeoutMs,
      requestTimeout: answerTimeoutMs,
      throwOnRequestTimeout: true,
      httpAgent: network.http,
      httpsAgent: network.https,
    },
  };
  const endpoint = resolution.endpoints.ssm;
  const client = new SSMClient({ ...common, ...(endpoint !== undefined && { endpoint }) });
  const currentCredentials = () =>
    client.config.credentials().catch((error: unknown) => {
      throw adviseAwsError(error, { service: 'ssm', operation: 'credentials', region, profile: credentialSource });
    });
  // The SDK learns the offset of our clock from the Date header of every answer.
  const awsTime = () => clock.wallTime() + client.config.systemClockOffset;
  const { ec2_instance_connect: pushEndpoint, ec2: ec2Endpoint } = resolution.endpoints;
  const clientCommon = { ...common, credentials: currentCredentials };
  const ec2 = new LazyEc2({
    config: { ...clientCommon, ...(ec2Endpoint !== undefined && { endpoint: ec2Endpoint }) },
    region,
    profile: credentialSource,
    clock,
  });
  const instanceConnect = new InstanceConnect({
    config: {
      ...clientCommon,
      ...(pushEndpoint !== undefined && { endpoint: pushEndpoint }),
    },
    region,
    profile: credentialSource,
    clock,
  });
  const call = ssmCall({ client, region, profile: credentialSource, clock, log });
  return {
    id,
    profile,
    region,
    ssm: ssmClient({ client, region, call, queues, forgetConnections: network.forgetIdle }),
    signer: upgradeSigner({ region, credentials: currentCredentials, awsTime }),
    commands: new Commands({ client, region, call, clock }),
    pusher: (instanceId) => (instanceId.startsWith('i-') ? instanceConnect.pusher(instanceId) : undefined),
    ec2,
    nodes: new Nodes({ client, call }),
    fips: resolution.fips,
    credentialSource,
    network,
    credentials: currentCredentials,
    whoAmI: async () => {
      const sts = new URL(resolution.endpoints.sts ?? stsEndpoint(await ssmEndpoint(client)));
      return await whoAmI({
        region,
        profile: credentialSource,
        endpoint: sts,
        network,
        credentials: currentCredentials,
        wallTime: clock.wallTime,
      });
    },
    awsTime,
    learnAwsTime: (time) => {
      client.config.systemClockOffset = time - clock.wallTime();
    },
    close: () => {
      client.destroy();
      ec2.close();
      network.close();
    },
  };
}

/** In the same region and partition as SSM's, `ssm.REGION.…`. */
function stsEndpoint({ protocol, host }: URL): string {
  return `${protocol}//${host.replace(/^ssm(?=[-.])/, 'sts')}`;
}

/** First what is known, then fresh ones: the SDK's client asks again only when they end or AWS calls them expired. */
function credentialProvider(first: Credentials, refresh: () => Promise<Credentials>) {
  let known: Credentials | undefined = first;
  return async (): Promise<Credentials> => {
    const credentials = known ?? (await refresh());
    known = undefined;
    return credentials;
  };
}

/**
 * The certificate authorities to believe, undefined for Node's own. The SDK for JavaScript does not read AWS_CA_BUNDLE; all
 * other AWS tools do. NODE_EXTRA_CA_CERTS is for Node to read, but a daemon was started by somebody else; like Node, we do
 * without a file that can't be read.
 * @throws ConfigError `bad-ca-bundle`
 */
async function readAuthorities({ caBundle, extraCa }: Resolution): Promise<string[] | undefined> {
  if (caBundle === undefined && extraCa === undefined) return undefined;
  const usual = caBundle === undefined ? rootCertificates : [await readCaBundle(caBundle)];
  const extra = extraCa && (await readFile(extraCa, 'utf8').catch(() => undefined));
  return [...usual, ...(extra ? [extra] : [])];
}

async function readCaBundle(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new ConfigError('bad-ca-bundle', `cannot read AWS_CA_BUNDLE ${file}: ${code}`, {
      hint: 'it has to be a file of certificates in PEM form',
      cause: error,
    });
  }
}
