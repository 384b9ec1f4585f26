// The simulated region in a process of its own, so that its work and the benchmark's measuring don't wait for each other.
// Run with a channel to the benchmark (fork); ends when that does.
import { PerformanceObserver } from 'node:perf_hooks';
import type { DirectionFaults } from '../region/gateway/faults.ts';
import type { RegionOptions } from '../region/options.ts';
import { type Region, startRegion } from '../region/region.ts';

/** What the benchmark sends. */
export interface RegionRequest {
  start?: Pick<RegionOptions, 'tls' | 'nodes' | 'endpoints' | 'quotas' | 'gateway'> & {
    /** `HOST:PORT` that StreamUrls name in place of the region's own. */
    streamAuthority?: string;
  };
  faults?: { up?: Partial<DirectionFaults>; down?: Partial<DirectionFaults> };
}

/** The answer to each request. */
export interface RegionAnswer {
  endpoint: string;
  env: Record<string, string>;
  /** How long the region had the last StartSession, ms. */
  startSessionMs: number | undefined;
}

let region: Region | undefined;
let startSessionMs: number | undefined;

new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    const { req } = (entry as { detail?: { req?: { headers?: Record<string, string> } } }).detail ?? {};
    if (entry.name === 'HttpRequest' && req?.headers?.['x-amz-target']?.endsWith('.StartSession'))
      startSessionMs = entry.duration;
  }
}).observe({ entryTypes: ['http'] });

process.on('message', async ({ start, faults }: RegionRequest) => {
  if (start !== undefined) {
    const { streamAuthority, ...options } = start;
    region = await startRegion({
      ...options,
      ...(streamAuthority !== undefined && {
        streamUrl: (url: string) => url.replace(/^(wss?:\/\/)[^/]+/, `$1${streamAuthority}`),
      }),
    });
  }
  if (faults !== undefined) {
    region!.faults.clear();
    region!.faults.set(faults);
  }
  process.send!({ endpoint: region!.endpoint, env: region!.env, startSessionMs } satisfies RegionAnswer);
});
process.on('disconnect', async () => {
  await region?.stop();
  process.exit();
});
