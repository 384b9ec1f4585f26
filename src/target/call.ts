// What a caller's host, port and user mean with its settings: the file may have a table for the host, and that table another
// name, profile, region, user and port.
import { aliases, loadSettings, type SettingSources } from '../config.ts';
import { UsageError } from '../errors.ts';
import { nearest } from '../nearest.ts';
import type { Settings } from '../settings.ts';
import { type Host, parseHost, parsePort, parseUser } from './host.ts';

/** As ssh gave them. */
export interface Operands {
  host: string;
  port: string;
  user?: string | undefined;
}

export interface Call {
  settings: Settings;
  /** `name` is the caller's word for it; the rest is what it means, profile and region of the settings included. */
  host: Host;
  /** On the host. */
  port: number;
  /** That ssh named, and by which it names the agent socket (`%p`). */
  namedPort: number;
  user: string | undefined;
}

/** What ssh says where nobody said anything. */
const defaultPort = 22;

/** @throws UsageError `bad-host`, `bad-port`, `bad-user`; as loadSettings */
export function readCall({ host, port, user }: Operands, sources: Omit<SettingSources, 'host'>): Call {
  const settings = loadSettings({ ...sources, host });
  const namedPort = parsePort(port);
  return {
    settings,
    host: readHost(host, settings, sources.file),
    port: namedPort === defaultPort ? (settings.port ?? namedPort) : namedPort,
    namedPort,
    user: user === undefined ? settings.user : parseUser(user),
  };
}

/** @throws UsageError `bad-host` */
export function readHost(name: string, settings: Settings, file: string | undefined): Host {
  const host = parseCalled(name, settings, file);
  const profile = host.profile ?? settings.profile;
  const region = host.region ?? settings.region;
  return { ...host, name, ...(profile !== undefined && { profile }), ...(region !== undefined && { region }) };
}

function parseCalled(name: string, { target }: Settings, file: string | undefined): Host {
  try {
    return parseHost(target ?? name);
  } catch (error) {
    const meant = target === undefined && file !== undefined ? nearest(name, aliases(file)) : undefined;
    if (meant === undefined || !(error instanceof UsageError)) throw error;
    throw new UsageError(error.code, error.message, { hint: `did you mean ${meant}, which ${file} has?` });
  }
}
