// How a call of the SSM client is made, whichever it is: with retries, with fresh credentials where AWS calls ours expired,
// with an error of ours if it fails (advice.ts), and given up when its signal says so.
import { type SSMClient, StartSessionCommand } from '@aws-sdk/client-ssm';
import { getEndpointFromInstructions } from '@smithy/core/endpoints';
import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import { adviseAwsError, type CallContext } from './advice.ts';
import type { CallQueue } from './call-queue.ts';
import { withRetries } from './retry.ts';

export interface SsmCallOptions {
  client: SSMClient;
  region: string;
  /** For messages: where the credentials come from; undefined for keys in the environment. */
  profile: string | undefined;
  clock: Clock;
  log: Log;
}

export interface CallManner {
  /** Once it was sent, the signal ends what comes after it, but not the call itself. */
  uncut?: boolean;
  /** The line that it waits in. */
  queue?: CallQueue | undefined;
  /** Codes at which credentials are renewed, once. */
  curedByCredentials?: RegExp;
  /** It is not repeated here: whoever calls has a patience of his own. */
  once?: boolean;
}

/** @throws AwsError; the signal's reason */
export type SsmCall = <T>(
  context: Pick<CallContext, 'operation' | 'target' | 'document'>,
  send: (options: { abortSignal?: AbortSignal }) => Promise<T>,
  signal: AbortSignal | undefined,
  manner?: CallManner,
) => Promise<T>;

/** By AWS's clock although not by ours, or renewed by another process since. */
const expired = /^credentials-expired$/;

/** Where the API is called, by the client's settings and AWS's rules. */
export async function ssmEndpoint(client: SSMClient): Promise<URL> {
  return new URL((await getEndpointFromInstructions({ Target: '' }, StartSessionCommand, client.config)).url);
}

export function ssmCall({ client, region, profile, clock, log }: SsmCallOptions): SsmCall {
  /** @throws why there are none: their source knows better than AWS what is to be done */
  const renewCredentials = async () => {
    try {
      await client.config.credentials({ forceRefresh: true });
    } catch (error) {
      throw adviseAwsError(error, { service: 'ssm', operation: 'credentials', region, profile });
    }
  };
  return async (context, send, signal, manner = {}) => {
    const { uncut = false, queue, curedByCredentials = expired, once = false } = manner;
    signal?.throwIfAborted();
    const endpointHost = (await ssmEndpoint(client)).host;
    let refreshed = false;
    const attempt = async (): ReturnType<typeof send> => {
      const startedAt = clock.now();
      try {
        return await send(signal === undefined || uncut ? {} : { abortSignal: signal });
      } catch (error) {
        if (signal?.aborted && !uncut) throw signal.reason;
        const advised = adviseAwsError(error, { service: 'ssm', region, profile, endpointHost, ...context });
        log('info', 'aws-error', {
          operation: context.operation,
          code: advised.code,
          ms: Math.round(clock.now() - startedAt),
        });
        if (refreshed || signal?.aborted || !curedByCredentials.test(advised.code)) throw advised;
        refreshed = true;
        await renewCredentials();
        return attempt();
      }
    };
    const turn = () => (queue === undefined ? attempt() : queue.run(attempt, signal));
    return once ? turn() : withRetries(turn, { clock, signal });
  };
}
