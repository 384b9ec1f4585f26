// Which profile and region the settings have for a host, for the few connections in which the helper has to know that before
// the daemon does. Reads the configuration file, so it is loaded only then: ssh waits for the helper.
import { findPaths } from '../paths.ts';
import { readCall } from '../target/call.ts';
import type { ProxyArguments } from './proxy-arguments.ts';
import type { WantedSettings } from './resolve-arguments.ts';

/** @throws UsageError `bad-host` for what is neither in the grammar nor in the file; as readCall */
export function wantedSettings({ operands, flags }: ProxyArguments, env: NodeJS.ProcessEnv): WantedSettings {
  const { profile, region } = readCall(operands, { flags, env, file: findPaths(env).configFile }).host;
  return { profile, region };
}
