// Finds the value of every setting: flag, then environment, then the file's tables for the host, then the rest of the file,
// then default (design.md section 6). All or nothing: one bad value anywhere, and no setting is handed out.
import { type ConfigFile, readConfigFile } from './config-file.ts';
import { ConfigError, UsageError } from './errors.ts';
import { matchesHost } from './host-patterns.ts';
import { envName, flagName, type Setting, type SettingName, type Settings, settings, show } from './settings.ts';

export interface SettingSources {
  /** By flag name without the hyphens: `{ 'ping-interval': '10s' }`. */
  flags?: Record<string, string>;
  env: NodeJS.ProcessEnv;
  /** Path of the configuration file; it need not exist. */
  file: string | undefined;
  /** As ssh named it: the file may have tables for it. Without it none of them holds. */
  host?: string | undefined;
}

export type Origin =
  | { from: 'flag' | 'environment'; name: string }
  /** `host`: the patterns of the table. */
  | { from: 'file'; file: string; line: number; column: number; host?: string }
  | { from: 'default' };

export interface FoundSetting {
  value: unknown;
  origin: Origin;
}

export type FoundSettings = Record<SettingName, FoundSetting>;

/** @throws ConfigError `bad-setting`, `unknown-setting`, `misplaced-setting`, `bad-config-file`; UsageError for a bad flag */
export function loadSettings(sources: SettingSources): Settings {
  const found = Object.entries(findSettings(sources)).map(([name, { value }]) => [name, value]);
  return Object.fromEntries(found) as Settings;
}

/** With where each value comes from. @throws as loadSettings */
export function findSettings({ flags = {}, env, file, host }: SettingSources): FoundSettings {
  const config: ConfigFile = file === undefined ? { values: {}, hosts: [], forwards: {} } : readConfigFile(file);
  const tables = host === undefined ? [] : config.hosts.filter(({ patterns }) => matchesHost(patterns, host));
  const found: Partial<FoundSettings> = {};
  for (const name of Object.keys(settings) as SettingName[]) {
    const inFile = fromFile(name, file, config, tables);
    // Both are read, so that a bad value is reported although a better source hides it.
    const inEnv = fromEnvironment(name, env);
    const inFlags = fromFlags(name, flags);
    found[name] = inFlags ?? inEnv ?? inFile ?? { value: settings[name].default, origin: { from: 'default' } };
  }
  return found as FoundSettings;
}

/** Of several tables for the host the first that has the setting, as in ssh_config(5). */
function fromFile(
  name: SettingName,
  file: string | undefined,
  { values }: ConfigFile,
  tables: ConfigFile['hosts'],
): FoundSetting | undefined {
  const table = tables.find((candidate) => candidate.values[name] !== undefined);
  const found = table?.values[name] ?? values[name];
  if (found === undefined || file === undefined) return undefined;
  const { value, line, column } = found;
  return { value, origin: { from: 'file', file, line, column, ...(table && { host: table.patterns }) } };
}

function fromEnvironment(name: SettingName, env: NodeJS.ProcessEnv): FoundSetting | undefined {
  const variable = envName(name);
  const text = env[variable];
  if (!text) return undefined;
  const setting: Setting<unknown> = settings[name];
  const value = setting.read(text);
  if (value !== undefined) return { value, origin: { from: 'environment', name: variable } };
  throw new ConfigError('bad-setting', `${variable} in the environment is ${show(text)}`, {
    hint: `${variable} must be ${setting.allowed}`,
  });
}

function fromFlags(name: SettingName, flags: Record<string, string>): FoundSetting | undefined {
  const flag = `--${flagName(name)}`;
  const text = flags[flagName(name)];
  if (text === undefined) return undefined;
  const setting: Setting<unknown> = settings[name];
  const value = setting.read(text);
  if (value !== undefined) return { value, origin: { from: 'flag', name: flag } };
  throw new UsageError('bad-setting', `${flag} is ${show(text)}`, { hint: `${flag} must be ${setting.allowed}` });
}

/** Names for which the file has a `target`, patterns aside. @throws ConfigError as loadSettings */
export function aliases(file: string): string[] {
  return readConfigFile(file)
    .hosts.filter(({ values }) => values.target !== undefined)
    .flatMap(({ patterns }) => patterns.split(/[\s,]+/))
    .filter((name) => /^[^*?!]+$/.test(name));
}
