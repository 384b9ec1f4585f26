// `keyhole host-keys`: the host keys that AWS vouches for, as known_hosts has them. Asks AWS itself, without the daemon.
import { openAws } from '../aws/own-context.ts';
import { systemClock } from '../clock.ts';
import { ConfigError } from '../errors.ts';
import { knownHostsLines, knownHostsName } from '../hostkeys/known-hosts.ts';
import { fetchHostKeys } from '../hostkeys/source.ts';
import { readCall } from '../target/call.ts';
import { InstanceNames } from '../target/names.ts';
import { openLog } from './log-file.ts';
import { mfaCodeAtTerminal } from './mfa-code.ts';
import { ownPaths } from './own-paths.ts';
import type { VerbContext } from './run.ts';

/** @throws ConfigError `host-keys-off`; as readCall, openAws, InstanceNames.idOf and fetchHostKeys */
export async function hostKeys(
  operands: { host: string; port: string },
  { terminal, env, signal }: VerbContext,
): Promise<void> {
  const { settings, host, namedPort } = readCall(operands, { env, file: ownPaths(env).configFile });
  const source = settings.hostKeys;
  if (source === 'off') {
    throw new ConfigError('host-keys-off', 'the setting host_keys names no source of host keys', {
      hint: 'set host_keys in config.toml or KEYHOLE_HOST_KEYS: ssm-document:NAME, ssm-shell or console-output',
    });
  }
  const mfaCode = mfaCodeAtTerminal(() => {});
  const log = openLog(settings);
  const aws = await openAws({ profile: host.profile, region: host.region, mfaCode, clock: systemClock, log });
  try {
    const target = await new InstanceNames(systemClock).idOf({ host, settings }, aws, signal);
    const keys = await fetchHostKeys(target, source, aws, signal);
    terminal.print(knownHostsLines(knownHostsName(host.name, namedPort), keys, target).trimEnd());
  } finally {
    aws.close();
  }
}
