// Finds the value of every setting: flag, then environment, then file, then default (design.md section 6).
// All or nothing: one bad value anywhere, and no setting is handed out.
import { readFileSync } from 'node:fs';
import { parse, TomlError } from 'smol-toml';
import { ConfigError, UsageError } from './errors.ts';
import { nearest } from './nearest.ts';
import { envName, fileKey, flagName, type Setting, type SettingName, type Settings, settings } from './settings.ts';

export interface SettingSources {
  /** By flag name without the hyphens: `{ 'ping-interval': '10s' }`. */
  flags?: Record<string, string>;
  env: NodeJS.ProcessEnv;
  /** Path of the configuration file; it need not exist. */
  file: string | undefined;
}

/** @throws ConfigError `bad-setting`, `unknown-setting`, `bad-config-file`; UsageError for a bad flag */
export function loadSettings({ flags = {}, env, file }: SettingSources): Settings {
  const document = file === undefined ? {} : readDocument(file);
  const found: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries<Setting<unknown>>(settings)) {
    const flag = flags[flagName(name)];
    const variable = env[envName(name)];
    const inFile = document[fileKey(name)];
    // All three are read, so that a bad value is reported although a better source hides it.
    const fromFile = inFile && read(setting, inFile.value, fileKey(name), inFile.where);
    const fromEnv = variable ? read(setting, variable, envName(name), 'the environment') : undefined;
    const fromFlag = flag === undefined ? undefined : readFlag(setting, flag, `--${flagName(name)}`);
    found[name] = fromFlag ?? fromEnv ?? fromFile ?? setting.default;
  }
  return found as Record<SettingName, unknown> as Settings;
}

function read<T>(setting: Setting<T>, value: unknown, name: string, where: string): T {
  const result = setting.read(value);
  if (result !== undefined) return result;
  throw new ConfigError('bad-setting', `${name} in ${where} is ${show(value)}`, {
    hint: `${name} must be ${setting.allowed}`,
  });
}

function readFlag<T>(setting: Setting<T>, value: string, name: string): T {
  const result = setting.read(value);
  if (result !== undefined) return result;
  throw new UsageError('bad-setting', `${name} is ${show(value)}`, { hint: `${name} must be ${setting.allowed}` });
}

interface FileValue {
  value: unknown;
  /** `FILE:LINE:COLUMN`. */
  where: string;
}

function readDocument(file: string): Record<string, FileValue> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || (error as NodeJS.ErrnoException).code === 'ENOTDIR')
      return {};
    throw new ConfigError('bad-config-file', `cannot read ${file}: ${(error as NodeJS.ErrnoException).code}`, {
      cause: error,
    });
  }
  const values: Record<string, FileValue> = {};
  const known = new Set(Object.keys(settings).map(fileKey));
  for (const [key, value] of flatten(parseToml(text, file), known)) {
    const where = `${file}:${locate(text, key)}`;
    if (!known.has(key)) {
      const meant = nearest(key, known);
      throw new ConfigError('unknown-setting', `${JSON.stringify(key)} in ${where} is not a setting`, {
        hint: meant === undefined ? `settings are ${[...known].join(', ')}` : `did you mean ${meant}?`,
      });
    }
    values[key] = { value, where };
  }
  return values;
}

/** `[agent] upstream = …` as `agent.upstream`: tables whose names are part of a setting's. */
function flatten(document: Record<string, unknown>, known: Set<string>): [string, unknown][] {
  const tables = new Set([...known].filter((key) => key.includes('.')).map((key) => key.split('.')[0]));
  return Object.entries(document).flatMap(([key, value]) =>
    tables.has(key) && typeof value === 'object' && value !== null
      ? Object.entries(value).map(([name, inner]): [string, unknown] => [`${key}.${name}`, inner])
      : [[key, value]],
  );
}

function parseToml(text: string, file: string): Record<string, unknown> {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const reason = error.message.split('\n')[0]!.replace(/^Invalid TOML document: /, '');
    throw new ConfigError('bad-config-file', `${file}:${error.line}:${error.column} is not TOML: ${reason}`, {
      cause: error,
    });
  }
}

/** `LINE:COLUMN` of a top-level key or table. The parser keeps no positions; a person only needs the place. */
function locate(text: string, key: string): string {
  // A key of a table stands alone on its line.
  const name = key.replace(/^.*\./, '').replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const start = new RegExp(`^[ \\t]*(?:\\[+[ \\t]*)?["']?${name}["']?[ \\t]*[=.\\]]`);
  const lines = text.split('\n');
  const line = lines.findIndex((candidate) => start.test(candidate));
  return line < 0 ? '1:1' : `${line + 1}:${lines[line]!.search(/\S/) + 1}`;
}

function show(value: unknown): string {
  const text = JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? String(part) : part)) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}
