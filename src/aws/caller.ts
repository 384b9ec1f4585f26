// Which callers share their AWS settings: those whose surroundings lead to the same answers. Pure but for two stats.
import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';

export interface CallerSurroundings {
  env: Record<string, string>;
  cwd: string;
}

export interface WantedSettings {
  /** From the host's name; each wins over the environment. */
  profile?: string | undefined;
  region?: string | undefined;
}

/** Variables that decide what AWS tools do. Those of AWS, and what a profile's process or login may need to be the same. */
const deciding =
  /^(?:AWS_[A-Z0-9_]+|HOME|USERPROFILE|PATH|https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY|NODE_EXTRA_CA_CERTS|SSL_CERT_FILE|SSL_CERT_DIR)$/;

/** Names the settings without telling them: they hold secrets. */
export function surroundingsKey({ env }: CallerSurroundings, wanted: WantedSettings): string {
  const hash = createHash('sha256');
  hash.update(JSON.stringify([wanted.profile ?? null, wanted.region ?? null]));
  for (const name of Object.keys(env)
    .filter((name) => deciding.test(name))
    .sort()) {
    hash.update(JSON.stringify([name, env[name]]));
  }
  return hash.digest('hex').slice(0, 32);
}

/** Changes whenever a shared configuration file of the caller does: what was read from them is then of no use. */
export function sharedFilesStamp({ env }: CallerSurroundings): string {
  const folder = env.HOME === undefined ? undefined : join(env.HOME, '.aws');
  const files = [
    env.AWS_CONFIG_FILE ?? (folder && join(folder, 'config')),
    env.AWS_SHARED_CREDENTIALS_FILE ?? (folder && join(folder, 'credentials')),
  ];
  return files.map((file) => (file === undefined ? '-' : stamp(file))).join(' ');
}

function stamp(file: string): string {
  try {
    const { mtimeNs, size, ino } = statSync(file, { bigint: true });
    return `${mtimeNs}.${size}.${ino}`;
  } catch {
    return '-';
  }
}

/** What a successor needs to find the same settings again, without a secret: a profile's name, not a key. */
export function withoutSecrets(env: Record<string, string>): Record<string, string> {
  const kept =
    /^(?:HOME|PATH|USER|LOGNAME|AWS_(?:PROFILE|DEFAULT_PROFILE|REGION|DEFAULT_REGION|CONFIG_FILE|SHARED_CREDENTIALS_FILE|CA_BUNDLE|ENDPOINT_URL|ENDPOINT_URL_[A-Z0-9_]+|USE_[A-Z_]+))$/;
  return Object.fromEntries(Object.entries(env).filter(([name]) => kept.test(name)));
}
