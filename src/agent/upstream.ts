// Which agent is the caller's own (design.md section 1, 2). OpenSSH 10.5 puts our socket into SSH_AUTH_SOCK before it
// starts the ProxyCommand, so what the helper sees there may be ourselves; what ssh itself was started with is still
// in its /proc entry, and what the user's session has is known to launchd. All reading is done by what is passed in.
import { isAbsolute } from 'node:path';

export interface UpstreamSources {
  /** Named for this connection, as ssh's own IdentityAgent would be, which wins over SSH_AUTH_SOCK too. */
  named?: string | undefined;
  /** SSH_AUTH_SOCK of the helper. */
  helper: string | undefined;
  /** The environment with which ssh was started, as `/proc/PID/environ` has it; undefined where that can't be read. */
  readSshEnvironment(): Promise<Uint8Array | undefined>;
  /** What `launchctl getenv SSH_AUTH_SOCK` prints; undefined where there is no launchd. */
  readLaunchd(): Promise<string | undefined>;
  /** The setting `agent.upstream`. */
  setting: string | undefined;
  /** `ours` for a socket of keyhole, `other` for one that is not, `none` where there is no socket. */
  look(path: string): Promise<'ours' | 'other' | 'none'>;
}

/** Path of the first agent that is there and is not ours. */
export async function findUpstream(sources: UpstreamSources): Promise<string | undefined> {
  const candidates = [
    async () => sources.named,
    async () => sources.helper,
    async () => findVariable(await sources.readSshEnvironment(), 'SSH_AUTH_SOCK'),
    async () => (await sources.readLaunchd())?.trimEnd(),
    async () => sources.setting,
  ];
  for (const candidate of candidates) {
    const path = await candidate();
    // A relative path would mean something else to the daemon, whose folder is another.
    if (path !== undefined && isAbsolute(path) && (await sources.look(path)) === 'other') return path;
  }
  return undefined;
}

/** `NAME=value` entries, each ended by a NUL; the first of a name counts, as in getenv. */
function findVariable(environment: Uint8Array | undefined, name: string): string | undefined {
  if (environment === undefined) return undefined;
  const entries = Buffer.from(environment.buffer, environment.byteOffset, environment.byteLength)
    .toString('utf8')
    .split('\0');
  return entries.find((entry) => entry.startsWith(`${name}=`))?.slice(name.length + 1);
}
