// Reads the configuration file into values with their places: settings for all hosts, and tables for some. All of it is
// checked, so that nothing is half applied; which of its values hold is config.ts's to say.
//
//   transport = "ssm"                 # for all hosts
//   [host."web-* !web-9"]             # patterns as after Host in ssh_config(5)
//   profile = "prod"
//   [forward.db]                      # a local tunnel, for keyhole up
//   host = "web-1.ec2"
//   ports = "5432:db.internal:5432"
import { readFileSync } from 'node:fs';
import { parse, TomlError } from 'smol-toml';
import { ConfigError } from './errors.ts';
import { nearest } from './nearest.ts';
import { fileKey, type Scope, type Setting, type SettingName, settings, show } from './settings.ts';
import { findPlaces, type Place, placeName } from './toml-places.ts';

export interface FileValue extends Place {
  /** As the setting has it. */
  value: unknown;
}

type Values = Partial<Record<SettingName, FileValue>>;

export interface ConfigFile {
  /** For all hosts. */
  values: Values;
  /** In the order of the file. */
  hosts: { patterns: string; values: Values }[];
  /** Local tunnels, by name. */
  forwards: Record<string, ForwardTable>;
}

export interface ForwardTable {
  host: string;
  /** Each `[LOCAL:][RHOST:]RPORT`. */
  ports: string[];
  /** Whether it may listen where other machines reach it. */
  expose: boolean;
}

type Table = Record<string, unknown>;

const byFileKey = new Map(Object.keys(settings).map((name) => [fileKey(name), name as SettingName]));
/** Tables whose names are part of a setting's: `[agent] upstream = …` is `agent.upstream`. */
const sections = new Set([...byFileKey.keys()].filter((key) => key.includes('.')).map((key) => key.split('.')[0]!));

/** A file that is not there says nothing. @throws ConfigError `bad-config-file`, `unknown-setting`, `bad-setting` */
export function readConfigFile(file: string): ConfigFile {
  const text = readText(file);
  const document = parseToml(text, file);
  const places = findPlaces(text);
  const placeOf = (path: string[]): Place => places.get(placeName(path)) ?? { line: 1, column: 1 };
  const where = (path: string[]) => whereIn(file, placeOf(path));

  function readTable(table: Table, path: string[], scopes: Scope[]): Values {
    const values: Values = {};
    for (const [key, value] of Object.entries(table)) {
      const at = [...path, key];
      if (path.length === 0 && (key === 'host' || key === 'forward')) continue;
      if (sections.has(key) && isTable(value)) {
        Object.assign(values, readSection(value, at, scopes));
        continue;
      }
      const name = byFileKey.get(key);
      if (name === undefined) throw unknown(key, where(at), path.length === 0);
      values[name] = readValue(name, value, at, scopes);
    }
    return values;
  }

  function readSection(table: Table, path: string[], scopes: Scope[]): Values {
    const values: Values = {};
    for (const [key, value] of Object.entries(table)) {
      const at = [...path, key];
      const full = `${path.at(-1)}.${key}`;
      const name = byFileKey.get(full);
      if (name === undefined) throw unknown(full, where(at), path.length === 1);
      values[name] = readValue(name, value, at, scopes);
    }
    return values;
  }

  function readValue(name: SettingName, value: unknown, path: string[], scopes: Scope[]): FileValue {
    const setting: Setting<unknown> = settings[name];
    if (!scopes.includes(setting.scope)) throw misplaced(fileKey(name), where(path), setting.scope);
    const read = setting.read(value);
    if (read !== undefined) return { value: read, ...placeOf(path) };
    throw new ConfigError('bad-setting', `${fileKey(name)} in ${where(path)} is ${show(value)}`, {
      hint: `${fileKey(name)} must be ${setting.allowed}`,
    });
  }

  function readHosts(tables: unknown): ConfigFile['hosts'] {
    if (!isTable(tables)) throw noTable('host', where(['host']), tables);
    const hosts = Object.entries(tables).map(([patterns, table]) => {
      const path = ['host', patterns];
      if (!isTable(table)) throw noTable(`host.${JSON.stringify(patterns)}`, where(path), table);
      return { patterns, values: readTable(table, path, ['connection', 'host']), ...placeOf(path) };
    });
    // An object has names that are numbers before all others.
    return hosts.sort((a, b) => a.line - b.line || a.column - b.column);
  }

  function readForwards(tables: unknown): ConfigFile['forwards'] {
    if (!isTable(tables)) throw noForward('forward', where(['forward']), tables);
    return Object.fromEntries(
      Object.entries(tables).map(([name, table]) => {
        if (!isTable(table)) throw noForward(`forward.${name}`, where(['forward', name]), table);
        return [name, readForward(name, table)];
      }),
    );
  }

  function readForward(name: string, table: Table): ForwardTable {
    const wrong = (key: string, allowed: string): ConfigError => {
      const at = where(['forward', name, ...(key in table ? [key] : [])]);
      const what = key in table ? `is ${show(table[key])}` : 'is missing';
      return new ConfigError('bad-setting', `forward.${name}.${key} in ${at} ${what}`, {
        hint: `${key} must be ${allowed}`,
      });
    };
    if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/.test(name))
      throw noForward(`forward.${show(name)}`, where(['forward', name]), table);
    const { host, ports, expose = false, ...others } = table;
    const [stranger] = Object.keys(others);
    if (stranger !== undefined) throw unknownOfForward(stranger, where(['forward', name, stranger]));
    if (typeof host !== 'string') throw wrong('host', 'a host, as ssh would name it');
    const list = Array.isArray(ports) ? ports : [ports];
    const texts = list.map((item) => (typeof item === 'number' ? String(item) : item));
    if (texts.length === 0 || !texts.every((item) => typeof item === 'string'))
      throw wrong('ports', 'a list such as ["5432", "6379:cache.internal:6379"]');
    if (typeof expose !== 'boolean') throw wrong('expose', 'true or false');
    return { host, ports: texts, expose };
  }

  return {
    values: readTable(document, [], ['connection', 'program']),
    hosts: document.host === undefined ? [] : readHosts(document.host),
    forwards: document.forward === undefined ? {} : readForwards(document.forward),
  };
}

/** `FILE:LINE:COLUMN`. */
export function whereIn(file: string, { line, column }: Place): string {
  return `${file}:${line}:${column}`;
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return '';
    throw new ConfigError('bad-config-file', `cannot read ${file}: ${code}`, { cause: error });
  }
}

function parseToml(text: string, file: string): Table {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const reason = error.message.split('\n')[0]!.replace(/^Invalid TOML document: /, '');
    throw new ConfigError('bad-config-file', `${whereIn(file, error)} is not TOML: ${reason}`, { cause: error });
  }
}

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

function unknown(key: string, where: string, isTop: boolean): ConfigError {
  const known = [...byFileKey.keys(), ...(isTop ? ['host', 'forward'] : [])];
  const meant = nearest(key, known);
  return new ConfigError('unknown-setting', `${JSON.stringify(key)} in ${where} is not a setting`, {
    hint: meant === undefined ? `settings are ${known.join(', ')}` : `did you mean ${meant}?`,
  });
}

function misplaced(key: string, where: string, scope: Scope): ConfigError {
  return new ConfigError('misplaced-setting', `${key} in ${where} cannot stand there`, {
    hint:
      scope === 'host'
        ? `it is a host's: put it into a table such as [host."web-*"]; [host."*"] is for all`
        : 'it is not about a host: put it above the first table',
  });
}

function unknownOfForward(key: string, where: string): ConfigError {
  return new ConfigError('unknown-setting', `${JSON.stringify(key)} in ${where} is not of a tunnel`, {
    hint: 'a tunnel has host, ports and perhaps expose; settings of its host are in tables such as [host."web-*"]',
  });
}

function noForward(key: string, where: string, value: unknown): ConfigError {
  return new ConfigError('bad-setting', `${key} in ${where} is ${show(value)}`, {
    hint: 'local tunnels are tables such as [forward.db], with letters, digits, ".", "_" and "-" in the name',
  });
}

function noTable(key: string, where: string, value: unknown): ConfigError {
  return new ConfigError('bad-setting', `${key} in ${where} is ${show(value)}`, {
    hint: 'settings of hosts are in tables such as [host."web-*"]',
  });
}
