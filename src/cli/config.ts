// `keyhole config`: the settings that hold, for all hosts or for one, and where each comes from.
import { type FoundSetting, findSettings, type Origin } from '../config.ts';
import { whereIn } from '../config-file.ts';
import { findPaths } from '../paths.ts';
import { fileKey, type SettingName, type Settings, showDuration } from '../settings.ts';
import { readHost } from '../target/call.ts';
import type { Host } from '../target/host.ts';
import type { VerbContext } from './run.ts';
import { table } from './table.ts';

export async function config(
  { host: name, json }: { host: string | undefined; json: boolean },
  { terminal, env }: VerbContext,
): Promise<void> {
  const file = findPaths(env).configFile;
  const found = Object.entries(findSettings({ env, file, host: name })) as [SettingName, FoundSetting][];
  const values = Object.fromEntries(found.map(([setting, { value }]) => [setting, value])) as unknown as Settings;
  const host = name === undefined ? undefined : readHost(name, values, file);
  if (json) {
    const settings = found.map(([setting, { value, origin }]) => [
      fileKey(setting),
      { value: shown(setting, value), origin },
    ]);
    terminal.print(JSON.stringify({ file, host, settings: Object.fromEntries(settings) }, undefined, 2));
    return;
  }
  const rows = found.map(([setting, { value, origin }]) => [fileKey(setting), text(setting, value), describe(origin)]);
  terminal.print(
    [...(host === undefined ? [] : [meaning(host), '']), ...table([['SETTING', 'VALUE', 'FROM'], ...rows])].join('\n'),
  );
}

function meaning(host: Host): string {
  const { name, region, profile } = host;
  const ofAws = 'the one of the AWS settings';
  const instance = 'nameTag' in host ? `the instance with the name ${host.nameTag}` : host.instanceId;
  return `${name} is ${instance}; region: ${region ?? ofAws}; profile: ${profile ?? ofAws}`;
}

/** As it is written in the file. */
function shown(setting: SettingName, value: unknown): unknown {
  return setting.endsWith('Ms') ? showDuration(value as number) : value;
}

function text(setting: SettingName, value: unknown): string {
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return '-';
  return String(shown(setting, value));
}

function describe(origin: Origin): string {
  switch (origin.from) {
    case 'default':
      return 'default';
    case 'file':
      return whereIn(origin.file, origin) + (origin.host === undefined ? '' : ` [host.${JSON.stringify(origin.host)}]`);
    default:
      return origin.name;
  }
}
